package replica

import (
	"slices"
	"testing"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// Gateways of the directed tests.
const (
	A metadata.NodeID = iota + 1
	B
	C
)

var partition = metadata.PartitionID{Stream: "s"}

// world is three gateways and the site's word on one partition; every message
// goes when the test says so.
type world struct {
	t     *testing.T
	rules Rules // switched off
	now   time.Duration
	state metadata.PartitionState
	incs  map[metadata.NodeID]uint64
	min   int
	nodes map[metadata.NodeID]*gateway
}

type gateway struct {
	*Partition
	log  *memLog
	kept int64 // high watermark on flash
	asks *metadata.AlterPartition
	sent int32 // records appended here
}

func newWorld(t *testing.T, without Rules) *world {
	w := &world{t: t, rules: without, min: 2, nodes: map[metadata.NodeID]*gateway{}, incs: map[metadata.NodeID]uint64{}}
	w.state = metadata.PartitionState{Replicas: []metadata.NodeID{A, B, C}, Leader: metadata.NoNode}
	for _, n := range w.state.Replicas {
		w.nodes[n] = &gateway{log: newMemLog()}
		w.start(n)
	}
	return w
}

// start begins a process on what is on flash.
func (w *world) start(n metadata.NodeID) {
	g := w.nodes[n]
	w.incs[n]++
	g.Partition = NewPartition(partition, g.log, g.kept, Options{Self: n, Without: w.rules})
	g.Registered(w.incs[n])
	g.asks = nil
}

// power loses what was not synced; the process begins anew.
func (w *world) power(n metadata.NodeID) {
	g := w.nodes[n]
	g.log.cut(g.log.synced)
	w.start(n)
}

// agree sets leader and ISR for everybody named in tell.
func (w *world) agree(leader metadata.NodeID, isr []metadata.NodeID, tell ...metadata.NodeID) {
	if leader != w.state.Leader {
		w.state.LeaderEpoch++
	}
	w.state.PartitionEpoch++
	w.state.Leader, w.state.ISR = leader, isr
	w.tell(tell...)
}

func (w *world) tell(nodes ...metadata.NodeID) {
	for _, n := range nodes {
		w.effects(n, w.nodes[n].Image(w.now, &w.state, func(m metadata.NodeID) uint64 { return w.incs[m] }, w.min))
	}
}

func (w *world) effects(n metadata.NodeID, fx Effects) {
	if fx.Alter != nil {
		w.nodes[n].asks = fx.Alter
	}
	if fx.Broken != "" {
		w.t.Fatalf("gateway %d: %s", n, fx.Broken)
	}
}

// append places one record at n, which must lead, and does not sync it.
func (w *world) append(n metadata.NodeID) {
	w.t.Helper()
	if err := w.tryAppend(n, metadata.AcksAll, batch.NoProducer); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tryAppend(n metadata.NodeID, acks metadata.Acks, p batch.Producer) error {
	g := w.nodes[n]
	g.sent++
	b := oneRecord(int64(n)<<32|int64(g.sent), p)
	h, _ := batch.ParseHeader(b)
	epoch, err := g.Admit(&h, g.log.PlacedOffset(), acks)
	if err == nil {
		g.log.place(b, epoch)
	}
	return err
}

func oneRecord(value int64, p batch.Producer) []byte {
	b := batch.NewBuilder(metadata.CodecNone)
	b.Append(&batch.Record{Timestamp: value, Value: []byte{byte(value)}})
	out, err := b.AppendTo(nil, p)
	if err != nil {
		panic(err)
	}
	return out
}

func (w *world) sync(n metadata.NodeID) {
	w.nodes[n].log.sync()
	w.effects(n, w.nodes[n].Synced(w.now))
}

// ask and answer are the two halves of a fetch, take what comes of it.
func (w *world) ask(n metadata.NodeID) FetchPartition {
	w.t.Helper()
	_, r, ok := w.nodes[n].NextFetch()
	if !ok {
		w.t.Fatalf("gateway %d has nothing to ask: it is %s", n, w.nodes[n].Role())
	}
	return r
}

func (w *world) answer(leader, n metadata.NodeID, r FetchPartition) FetchedPartition {
	g := w.nodes[leader]
	a, read, fx := g.Fetch(w.now, n, w.incs[n], &r)
	w.effects(leader, fx)
	if read {
		a.Records = g.log.read(r.Offset)
	}
	return a
}

func (w *world) take(n metadata.NodeID, r FetchPartition, a FetchedPartition) FollowerStep {
	g := w.nodes[n]
	s := g.Fetched(w.now, r, &a)
	w.effects(n, s.Effects)
	w.carryOut(n, &s)
	return s
}

// carryOut does what a step says, and syncs it.
func (w *world) carryOut(n metadata.NodeID, s *FollowerStep) {
	g := w.nodes[n]
	switch {
	case s.Truncate || s.Restart:
		if g.AdmitCut(s) != nil {
			return
		}
		if s.Truncate {
			g.log.cut(s.Offset)
			w.effects(n, g.Truncated(s.Offset))
		} else {
			g.log.restart(s.Offset)
			w.effects(n, g.Restarted(s.Offset))
		}
	case s.Records != nil:
		w.copy(n, s)
		w.sync(n)
	}
}

func (w *world) copy(n metadata.NodeID, s *FollowerStep) {
	g := w.nodes[n]
	for rest := s.Records; len(rest) > 0; {
		one, more, err := batch.Next(rest)
		if err != nil {
			w.t.Fatal(err)
		}
		h, _ := batch.ParseHeader(one)
		epoch, err := g.AdmitCopy(&h, g.log.PlacedOffset(), s.LeaderEpoch)
		if err != nil {
			return
		}
		g.log.place(one, epoch)
		rest = more
	}
}

// fetch is one round.
func (w *world) fetch(leader, n metadata.NodeID) FollowerStep {
	w.t.Helper()
	r := w.ask(n)
	return w.take(n, r, w.answer(leader, n, r))
}

// follow fetches until there is nothing new, and once more so that the leader
// hears of it.
func (w *world) follow(leader metadata.NodeID, nodes ...metadata.NodeID) {
	w.t.Helper()
	for range 2 { // the second time for the high watermark
		for _, n := range nodes {
			for range 20 {
				if s := w.fetch(leader, n); !s.Truncate && !s.Restart && s.Records == nil {
					break
				}
			}
		}
	}
}

// settle lets the site agree to what a leader asks for.
func (w *world) grant(n metadata.NodeID) metadata.Result {
	w.t.Helper()
	g := w.nodes[n]
	if g.asks == nil {
		w.effects(n, g.Tick(w.now))
	}
	if g.asks == nil {
		w.t.Fatalf("gateway %d asks for no other ISR", n)
	}
	w.state.ISR = slices.Clone(g.asks.ISR)
	w.state.PartitionEpoch++
	c := w.state.Clone()
	return metadata.Result{Partition: &c}
}

// same fails unless the logs hold the same batches.
func (w *world) same(nodes ...metadata.NodeID) {
	w.t.Helper()
	if !w.equal(nodes...) {
		for _, n := range nodes {
			w.t.Errorf("gateway %d: %s", n, w.nodes[n].log)
		}
		w.t.Fatal("logs differ")
	}
}

func (w *world) equal(nodes ...metadata.NodeID) bool {
	first := w.nodes[nodes[0]].log
	for _, n := range nodes[1:] {
		if !slices.EqualFunc(first.bytes, w.nodes[n].log.bytes, func(a, b []byte) bool { return slices.Equal(a, b) }) {
			return false
		}
	}
	return true
}

func (w *world) keep(nodes ...metadata.NodeID) {
	for _, n := range nodes {
		w.nodes[n].kept = w.nodes[n].HighWatermark()
	}
}

var everybody = []metadata.NodeID{A, B, C}

// scenario runs f with all rules, where it must find nothing wrong, and
// without the one that it is about, where it must.
func scenario(t *testing.T, rule Rules, f func(w *world) (wrong string)) {
	t.Helper()
	if wrong := f(newWorld(t, 0)); wrong != "" {
		t.Fatalf("with all rules: %s", wrong)
	}
	if rule == 0 {
		return
	}
	if wrong := f(newWorld(t, rule|WithoutAssertions)); wrong == "" {
		t.Fatalf("the scenario does not notice that the rule %b is off", rule)
	} else {
		t.Logf("without the rule: %s", wrong)
	}
}
