package drain

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cistern/segstore/batch"
)

// modelSteps is how many things happen in one world.
const modelSteps = 60

func newWorld(t *testing.T, seed uint64, m mutants) *world {
	rng := rand.New(rand.NewPCG(seed, 4))
	w := &world{t: t, rng: rng, mutants: m, log: &journal{}, store: &store{},
		central: &central{ids: map[int64]*producer{}, poison: map[identified]string{}}, missing: map[identified]bool{}}
	w.plan = plan{
		window:    []int{0, 0, 1, 3, 16}[rng.IntN(5)],
		retention: rng.IntN(3) == 0,
		poison:    rng.IntN(4) == 0,
		elections: rng.IntN(3) == 0,
		orders:    rng.IntN(4) == 0,
		skips:     rng.IntN(4) == 0,
	}
	if rng.IntN(3) == 0 {
		w.plan.rebatch = 200 + rng.IntN(1500)
	}
	w.order = Order(rng.IntN(2))
	w.plan.copies = rng.IntN(3) == 0
	return w
}

func records(b []byte) iter.Seq[identified] {
	return func(yield func(identified) bool) {
		for r, err := range batch.Records(b, 1<<20) {
			if err != nil || !yield(identify(r.Value)) {
				return
			}
		}
	}
}

// step is something that happens, with its weight.
type step struct {
	name   string
	weight int
	do     func(*world)
}

var allSteps = []step{
	{"records", 12, (*world).stepAppend},
	{"confirm", 10, func(w *world) { w.log.confirm() }},
	{"deliver", 30, func(w *world) { w.deliver() }},
	{"one reaches", 12, func(w *world) { w.onWire(func(l *wire) { l.reach() }) }},
	{"one answered", 12, func(w *world) { w.onWire(func(l *wire) { l.reach(); l.answer() }) }},
	{"a cut", 6, (*world).stepCut},
	{"a while", 10, func(w *world) { time.Sleep(time.Duration(w.rng.IntN(3000)) * time.Millisecond) }},
	{"caught up", 6, func(w *world) {
		if n := w.current(); n != nil {
			n.view.limit(-1)
		}
	}},
	{"no lanes", 3, func(w *world) { w.refuse(1 + w.rng.IntN(4)) }},
	{"state fails", 2, func(w *world) { w.fail(0, 1+w.rng.IntN(3), w.rng.IntN(2) == 0) }},
	{"crash", 4, (*world).stepCrash},
	{"stop", 2, (*world).stepStop},
	{"takeover", 3, (*world).stepTakeover},
	{"broker forgets", 2, func(w *world) { w.central.mu.Lock(); w.central.forget(); w.central.mu.Unlock() }},
	{"a day", 1, (*world).stepSilence},
	{"retention", 3, (*world).stepRetention},
	{"flash loses", 1, (*world).stepFlash},
	{"flash loses what a copy has", 2, (*world).stepRot},
	{"unclean election", 2, (*world).stepUnclean},
	{"pause", 1, (*world).stepPause},
	{"skip", 2, (*world).stepSkip},
}

func (w *world) run() error {
	sum := 0
	for _, s := range allSteps {
		sum += s.weight
	}
	w.start()
	for range modelSteps {
		n := w.rng.IntN(sum)
		for _, s := range allSteps {
			if n -= s.weight; n < 0 {
				w.say("%s", s.name)
				synctest.Wait()
				s.do(w)
				synctest.Wait()
				break
			}
		}
		if w.current() == nil && w.rng.IntN(3) > 0 {
			w.begin()
		}
	}
	w.say("the end")
	err := w.eventually()
	for _, n := range slices.Clone(w.nodes) {
		w.end(n, true)
	}
	if err != nil {
		return err
	}
	return w.check()
}

func (w *world) refuse(lanes int) {
	w.central.mu.Lock()
	defer w.central.mu.Unlock()
	w.central.refuse = lanes
}

// fail has as many lanes not opened, and as many synced writes fail; stored: all
// the same they are.
func (w *world) fail(lanes, writes int, stored bool) {
	w.refuse(lanes)
	w.store.mu.Lock()
	w.store.failing, w.store.stored = writes, stored
	w.store.mu.Unlock()
}

func (w *world) say(format string, args ...any) {
	fmt.Fprintf(w, "-- %s: "+format+"\n", append([]any{time.Now().Format(time.StampMilli)}, args...)...)
}

// begin starts a gateway with what survived.
func (w *world) begin() {
	if w.rng.IntN(2) == 0 {
		w.store.mu.Lock()
		w.store.lazy = nil
		w.store.mu.Unlock()
	}
	if w.plan.orders {
		w.order = Order(w.rng.IntN(2))
	}
	w.start()
}

func (w *world) stepAppend() {
	for range 1 + w.rng.IntN(6) {
		at := time.Now().UnixMilli()
		if w.rng.IntN(3) == 0 {
			at -= int64(w.rng.IntN(5000))
		}
		reason := ""
		if w.plan.poison && w.rng.IntN(8) == 0 {
			if reason = "MESSAGE_TOO_LARGE"; w.rng.IntN(2) == 0 {
				reason, at = invalidTimestamp, 1
			}
		}
		records := 1 + w.rng.IntN(12)
		if reason != "" {
			for i := range records {
				r := identified{w.log.history, w.log.end + int64(i)}
				w.central.mu.Lock()
				w.central.poison[r] = reason
				w.central.mu.Unlock()
				w.missing[r] = reason != invalidTimestamp
			}
		}
		w.log.append(w.t, records, at)
	}
	if w.rng.IntN(3) > 0 {
		w.log.confirm()
	}
}

func (w *world) onWire(do func(*wire)) {
	w.central.mu.Lock()
	defer w.central.mu.Unlock()
	if busy := w.wires(); len(busy) > 0 {
		do(busy[w.rng.IntN(len(busy))])
	}
}

// stepCut breaks all connections of one gateway; some of what was on the way
// has reached the broker.
func (w *world) stepCut() {
	if len(w.nodes) == 0 {
		return
	}
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	w.central.mu.Lock()
	defer w.central.mu.Unlock()
	for _, l := range w.central.lanes {
		if l.gateway == n.sink {
			for range w.rng.IntN(4) {
				l.reach()
			}
			l.cut()
		}
	}
	w.central.tidy()
}

func (w *world) stepCrash() {
	if len(w.nodes) > 0 {
		w.end(w.nodes[w.rng.IntN(len(w.nodes))], true)
	}
}

func (w *world) stepStop() {
	if n := w.current(); n != nil {
		if w.rng.IntN(2) == 0 {
			w.deliver()
		}
		w.end(n, false)
	}
}

// stepTakeover: another gateway leads. The one before lives on, and does not
// know.
func (w *world) stepTakeover() {
	n := w.current()
	if n == nil || len(w.nodes) > 2 {
		return
	}
	n.fence()
	n.view.limit(n.view.HighWatermark())
	w.log.mu.Lock()
	w.log.epoch++
	w.log.mu.Unlock()
	if w.plan.retention || w.plan.skips {
		w.end(n, true) // see DESIGN.md: gaps while another one drains
	}
	w.begin()
}

// stepSilence: nobody drains for a day, and the broker forgets producers.
func (w *world) stepSilence() {
	w.endAll()
	time.Sleep(25 * time.Hour)
	w.central.mu.Lock()
	w.central.forget()
	w.central.mu.Unlock()
}

func (w *world) endAll() {
	for _, n := range slices.Clone(w.nodes) {
		w.end(n, true)
	}
}

func (w *world) stepRetention() {
	if !w.plan.retention || w.log.hw == w.log.start {
		return
	}
	for _, k := range w.log.drop(w.log.start + w.rng.Int64N(w.log.hw-w.log.start+1)) {
		w.giveUp(k)
	}
}

func (w *world) giveUp(k kept) {
	for o := k.first; o < k.next; o++ {
		w.missing[identified{k.history, o}] = true
	}
}

func (w *world) stepFlash() {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	if n := len(w.log.batches); w.plan.retention && n > 0 {
		k := &w.log.batches[w.rng.IntN(n)]
		if k.next <= w.log.hw {
			k.lost = true
			w.giveUp(*k)
		}
	}
}

// stepRot: what flash loses here lies on another gateway's, too.
func (w *world) stepRot() {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	if n := len(w.log.batches); w.plan.copies && n > 0 {
		if k := &w.log.batches[w.rng.IntN(n)]; k.next <= w.log.hw && !k.lost {
			k.lost, k.elsewhere, k.away = true, true, w.rng.IntN(8)
		}
	}
}

// stepUnclean: who led is gone, and who leads now has less.
func (w *world) stepUnclean() {
	if !w.plan.elections || w.log.hw == w.log.start {
		return
	}
	w.endAll()
	w.central.mu.Lock()
	for _, l := range w.central.lanes {
		for range w.rng.IntN(4) {
			l.reach()
		}
		l.cut()
	}
	w.central.lanes = nil
	w.central.mu.Unlock()
	w.log.cutBack(w.log.start + w.rng.Int64N(w.log.hw-w.log.start+1))
	w.unclean++
	for range w.rng.IntN(4) {
		w.stepAppend()
	}
}

func (w *world) stepPause() {
	if n := w.current(); n != nil {
		ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
		defer cancel()
		n.drainer.Pause(ctx, shelfID, w.rng.IntN(3) == 0)
	}
}

func (w *world) stepSkip() {
	n := w.current()
	if !w.plan.skips || n == nil || w.log.hw == w.log.start {
		return
	}
	to := w.log.start + w.rng.Int64N(w.log.hw-w.log.start+1)
	for _, k := range w.log.batches {
		if k.next <= to {
			w.giveUp(k) // it may have been remembered though it failed
		}
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	s, err := n.drainer.Skip(ctx, shelfID, to, "a test", false)
	if err == nil && s.Records > 0 && s.Next > to {
		w.central.broken = append(w.central.broken, fmt.Sprintf("skipped to %d, asked for %d", s.Next, to))
	}
}
