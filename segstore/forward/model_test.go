package forward

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
	"cistern/segstore/replica"
)

// leader is a partition's leader, as its producers see it: it takes a batch when
// its sequence follows on, and knows what it has.
type leader struct {
	log       []int64 // the number of each record taken
	producers map[int64]int32
}

// take returns what the leader answers to a batch.
func (l *leader) take(b []byte) error {
	h, err := batch.Verify(b)
	if err != nil {
		return fmt.Errorf("%w: %w", replica.ErrCorrupt, err)
	}
	next, known := l.producers[h.Producer.ID]
	switch {
	case !known && h.Sequence != 0:
		return replica.ErrUnknownProducer
	case h.Sequence+h.Count <= next:
		return nil // a duplicate
	case h.Sequence != next:
		return replica.ErrOutOfOrderSequence
	}
	l.producers[h.Producer.ID] = h.Sequence + h.Count
	for r, err := range batch.Records(b, 1<<20) {
		if err != nil {
			return err
		}
		l.log = append(l.log, int64(binary.BigEndian.Uint64(r.Value)))
	}
	return nil
}

// world is a queue with everything around it: a leader, a parked log, a network
// that delays, and a clock.
type world struct {
	t    *testing.T
	rng  *rand.Rand
	now  time.Time
	q    *Queue
	lead leader

	lines   map[int][]*Attempt // by generation: what is under way, in order
	answers []answer
	parking []*Item
	reading int64
	saving  *Remap

	parked  [][]byte // with their base offsets
	end     int64
	durable int64 // position
	remap   Remap
	ids     int64

	sent     int64 // records submitted
	items    map[*Item][]int64
	answered map[int64]error // of records: how
	held     map[int64]bool
	trouble  bool
	zombies  int
	renewals int64
	counts   Counts
	odds     [fates]int // in percent
}

type answer struct {
	a   *Attempt
	err error
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 7)), now: time.Unix(1e6, 0), reading: -1,
		lead: leader{producers: map[int64]int32{}}, lines: map[int][]*Attempt{}, items: map[*Item][]int64{},
		answered: map[int64]error{}, held: map[int64]bool{}, trouble: true}
	for i := range w.odds {
		w.odds[i] = []int{0, 2, 5, 15}[w.rng.IntN(4)]
	}
	w.open()
	return w
}

func (w *world) newID() int64 { w.ids++; return 1<<62 | w.ids }

func (w *world) open() {
	w.q = NewQueue(metadata.PartitionID{Stream: "s"}, Policy{}, w.newID, w.durable, w.end, w.remap, w.now)
	w.apply(w.q.Tick(w.now))
}

func (w *world) submit(confirm bool) {
	n := 1 + w.rng.IntN(3)
	b := batch.NewBuilder(metadata.CodecNone)
	var numbers []int64
	for range n {
		w.sent++
		numbers = append(numbers, w.sent)
		if _, err := b.Append(&batch.Record{Value: binary.BigEndian.AppendUint64(nil, uint64(w.sent))}); err != nil {
			w.t.Fatal(err)
		}
	}
	data, err := b.AppendTo(nil, batch.NoProducer)
	if err != nil {
		w.t.Fatal(err)
	}
	it := &Item{Data: data, Records: int32(n), Acks: metadata.AcksAll, Confirm: confirm}
	w.items[it] = numbers
	w.apply(w.q.Submit(w.now, it))
}

func (w *world) apply(e *Effects) {
	for _, it := range e.Answer {
		for _, n := range w.items[it] {
			if _, twice := w.answered[n]; twice {
				w.t.Fatalf("record %d was answered twice", n)
			}
			w.answered[n] = it.Err
			if it.Err == nil && !slices.Contains(w.lead.log, n) && !(it.Confirm && w.isParked(n)) {
				w.t.Fatalf("record %d was confirmed, and is neither at the leader nor parked", n)
			}
		}
		delete(w.items, it)
	}
	for _, it := range e.Hold {
		if it.Confirm {
			w.t.Fatal("a batch was held that one copy was promised for")
		}
	}
	for _, a := range e.Send {
		a.Batch = slices.Clone(a.Batch) // what was sent is sent
		w.lines[a.generation] = append(w.lines[a.generation], a)
	}
	if len(w.lines[w.q.generation]) > InFlightMax {
		w.t.Fatalf("%d batches in flight", len(w.lines[w.q.generation]))
	}
	if len(e.Park) > 0 {
		if w.parking != nil {
			w.t.Fatal("parking twice at once")
		}
		w.parking = slices.Clone(e.Park)
	}
	if e.Save != nil {
		w.saving = e.Save
	}
	if e.Read >= 0 {
		if w.reading >= 0 {
			w.t.Fatal("reading twice at once")
		}
		w.reading = e.Read
	}
	if n := w.q.Counts().Renewed; n != w.renewals {
		// A request that outlives its producer can't be told from a new one.
		w.renewals = n
		w.dropUndelivered()
	}
}

func (w *world) isParked(n int64) bool {
	for _, b := range w.parked {
		for r := range batch.Records(b, 1<<20) {
			if int64(binary.BigEndian.Uint64(r.Value)) == n {
				return true
			}
		}
	}
	return false
}

func (w *world) dropUndelivered() {
	for g, line := range w.lines {
		for _, a := range line {
			if a.Done == nil {
				continue
			}
			w.zombies++
		}
		w.lines[g] = slices.DeleteFunc(line, func(a *Attempt) bool { return a.Done != nil })
	}
}

// What becomes of a request, besides the leader's right answer.
const (
	takenLost     = iota // taken, and the answer is lost
	takenResigned        // likewise, and the leader leads no more
	fewReplicas
	noLeader
	full
	late // given up, and delivered later
	fates
)

// fate draws one, with the seed's own odds; fates: all is well.
func (w *world) fate() int {
	if w.trouble {
		draw := w.rng.IntN(100)
		for i, odds := range w.odds {
			if draw -= odds; draw < 0 {
				return i
			}
		}
	}
	return fates
}

// deliver takes the first request of one line to the leader.
func (w *world) deliver() {
	var generations []int
	for g, line := range w.lines {
		if len(line) > 0 {
			generations = append(generations, g)
		}
	}
	if len(generations) == 0 {
		return
	}
	slices.Sort(generations)
	g := generations[w.rng.IntN(len(generations))]
	a := w.lines[g][0]
	w.lines[g] = w.lines[g][1:]
	if a.Done != nil { // a zombie: its answer was given up
		_ = w.lead.take(a.Batch)
		return
	}
	switch fate := w.fate(); {
	case fate == takenLost:
		_ = w.lead.take(a.Batch)
		w.answers = append(w.answers, answer{a, replica.ErrUnreachable})
	case fate == takenResigned:
		_ = w.lead.take(a.Batch)
		w.answers = append(w.answers, answer{a, replica.ErrNotLeader})
	case fate == fewReplicas:
		w.answers = append(w.answers, answer{a, replica.ErrNotEnoughReplicas})
	case fate == noLeader:
		w.answers = append(w.answers, answer{a, replica.ErrNoLeader})
	case fate == full && !w.has(a.Batch):
		w.answers = append(w.answers, answer{a, replica.ErrFull})
	case fate == late:
		w.answers = append(w.answers, answer{a, replica.ErrUnreachable})
		z := &Attempt{Item: a.Item, generation: a.generation}
		z.Batch, z.Done = a.Batch, func(*replica.Append) {}
		w.lines[-1] = append(w.lines[-1], z)
	default:
		w.answers = append(w.answers, answer{a, w.lead.take(a.Batch)})
	}
}

func (w *world) has(b []byte) bool {
	for r := range batch.Records(b, 1<<20) {
		return slices.Contains(w.lead.log, int64(binary.BigEndian.Uint64(r.Value)))
	}
	return false
}

func (w *world) answer() {
	if len(w.answers) == 0 {
		return
	}
	i := w.rng.IntN(len(w.answers))
	x := w.answers[i]
	w.answers = slices.Delete(w.answers, i, i+1)
	w.apply(w.q.Answered(w.now, x.a, int64(len(w.lead.log)), x.err))
}

func (w *world) park() {
	if w.parking == nil {
		return
	}
	items := w.parking
	w.parking = nil
	good := len(items)
	if w.trouble && w.rng.IntN(4) == 0 {
		good = w.rng.IntN(len(items) + 1)
	}
	results := make([]Parked, len(items))
	for i, it := range items {
		if i >= good {
			results[i].Err = segstore.ErrFull
			continue
		}
		b := slices.Clone(it.Data)
		batch.Stamp(b, w.end, 0)
		results[i].Base = w.end
		w.parked = append(w.parked, b)
		w.end += int64(it.Records)
	}
	w.apply(w.q.Parked(w.now, results))
}

func (w *world) read() {
	if w.reading < 0 {
		return
	}
	from := w.reading
	w.reading = -1
	if w.trouble && w.rng.IntN(10) == 0 {
		w.apply(w.q.ReadBack(w.now, nil, errors.New("the card is slow")))
		return
	}
	var run []byte
	for _, b := range w.parked {
		if h, _ := batch.ParseHeader(b); h.NextOffset() > from && len(run) < 600 {
			run = append(run, b...)
		}
	}
	w.apply(w.q.ReadBack(w.now, run, nil))
}

func (w *world) save() {
	if w.saving == nil {
		return
	}
	r := w.saving
	w.saving = nil
	if w.trouble && w.rng.IntN(4) == 0 {
		w.apply(w.q.Saved(w.now, errors.New("the card is slow")))
		return
	}
	w.remap, w.durable = *r, r.From
	w.apply(w.q.Saved(w.now, nil))
}

// forget makes the leader forget its producers, as after a long silence: not
// while a request is under way, nor while it has a batch that the queue does not
// know to be there.
func (w *world) forget() {
	for g, line := range w.lines {
		if g >= 0 && len(line) > 0 {
			return
		}
	}
	for _, numbers := range w.items {
		if slices.Contains(w.lead.log, numbers[0]) {
			return
		}
	}
	pos, _ := w.q.Position()
	for _, b := range w.parked {
		if h, _ := batch.ParseHeader(b); h.NextOffset() > min(pos, w.durable) && w.has(b) {
			return
		}
	}
	w.dropUndelivered()
	clear(w.lead.producers)
}

// restart ends the process: what was in memory and not answered is gone.
func (w *world) restart() {
	w.dropUndelivered()
	w.lines, w.answers, w.parking, w.reading, w.saving = map[int][]*Attempt{}, nil, nil, -1, nil
	w.counts = add(w.counts, w.q.Counts())
	w.renewals = 0
	for _, numbers := range w.items {
		for _, n := range numbers {
			w.answered[n] = errGone
		}
	}
	clear(w.items)
	if pos, _ := w.q.Position(); w.rng.IntN(2) == 0 && pos > w.durable {
		w.durable = pos
	}
	w.open()
}

var errGone = errors.New("the process ended before its answer")

func add(a, b Counts) Counts {
	a.add(b)
	return a
}

// heal ends all trouble and waits until nothing is left to do.
func (w *world) heal() {
	w.trouble = false
	for range 100_000 {
		w.deliver()
		w.answer()
		w.park()
		w.read()
		w.save()
		if w.q.Idle() {
			return
		}
		w.now = w.now.Add(10 * time.Millisecond)
		w.apply(w.q.Tick(w.now))
	}
	w.t.Fatalf("not idle long after the trouble ended: %+v", w.q)
}

// check looks at the leader's log: every record at most once and in order, each
// that was confirmed exactly once.
func (w *world) check() {
	w.t.Helper()
	for i := 1; i < len(w.lead.log); i++ {
		if w.lead.log[i] <= w.lead.log[i-1] {
			w.t.Fatalf("the leader has record %d behind record %d", w.lead.log[i], w.lead.log[i-1])
		}
	}
	for n := int64(1); n <= w.sent; n++ {
		err, answered := w.answered[n]
		if !answered {
			w.t.Fatalf("record %d was never answered", n)
		}
		if _, found := slices.BinarySearch(w.lead.log, n); err == nil && !found {
			w.t.Fatalf("record %d was confirmed and is not at the leader", n)
		}
	}
}
