package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"cistern/gossip/controller"
	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
	"cistern/segstore/vfs"
)

// town is a site in one process: real managers and stores, a controller that is
// always of one mind, and a network that can be cut.
type town struct {
	t testing.TB

	mu       sync.Mutex
	image    *metadata.Image
	gateways []*box // by node ID - 1
	mute     bool   // nobody recalls anything
}

type box struct {
	town  *town
	node  metadata.NodeID
	dir   string
	flash *heldSyncs
	store *segstore.Store
	m     *Manager
	stop  func()
	dead  bool
}

// townLagMax is so long that no follower leaves the ISR because the machine stood
// still. Who needs a gateway out has it fenced.
const townLagMax = 20 * time.Second

var townStream = metadata.PartitionID{Stream: "s"}

func newTown(t testing.TB, n, partitions, minInsync int) *town {
	w := &town{t: t, image: metadata.NewImage()}
	for i := range n {
		g := &box{town: w, node: metadata.NodeID(i + 1), dir: t.TempDir(), flash: &heldSyncs{FS: vfs.OS, word: make(chan struct{})}}
		w.gateways = append(w.gateways, g)
		g.start()
	}
	c := metadata.DefaultStreamConfig("s")
	c.Partitions, c.MinInsync = int32(partitions), minInsync
	w.propose(metadata.Change{PutStream: &metadata.PutStream{Config: c}})
	t.Cleanup(func() {
		for _, g := range w.gateways {
			if !g.dead {
				g.kill()
			}
		}
	})
	return w
}

// propose is the controller: what was agreed on reaches every living gateway.
func (w *town) propose(c metadata.Change) metadata.Result {
	w.mu.Lock()
	image, r := controller.Apply(w.image, w.image.Index+1, c)
	w.image = image
	var to []*Manager
	for _, g := range w.gateways {
		if !g.dead && g.m != nil {
			to = append(to, g.m)
		}
	}
	w.mu.Unlock()
	for _, m := range to {
		if err := m.Apply(image); err != nil {
			w.t.Error(err)
		}
	}
	return r
}

func (g *box) start() {
	t := g.town.t
	store, err := segstore.Open(segstore.Config{Dir: g.dir, FS: g.flash, MaxBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	m := NewManager(Config{Store: store, Peers: link{g.town, g}, Controller: mind{g.town}, MinInsync: controller.MinInsync, ReplicaLagMax: townLagMax})
	m.mender.pause = 100 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	g.town.mu.Lock()
	g.store, g.m, g.dead = store, m, false
	g.town.mu.Unlock()
	g.stop = func() { cancel(); <-done }
	lost := Unclean(store)
	r := g.town.propose(metadata.Change{Register: &metadata.Register{Name: fmt.Sprint("g", g.node), Address: "x", Weight: 1,
		StoreID: fmt.Sprintf("%x", store.ID()), StoreIncarnation: store.Incarnation(), Unclean: len(lost) > 0}})
	if r.Err() != nil || r.Node != g.node {
		t.Fatal(r)
	}
	if err := m.Heal(lost); err != nil {
		t.Fatal(err)
	}
	if err := store.ForgetUnclean(); err != nil {
		t.Fatal(err)
	}
	if err := m.Registered(r.Node, r.Incarnation); err != nil {
		t.Fatal(err)
	}
}

// kill ends a gateway; nobody is told.
func (g *box) kill() {
	g.town.mu.Lock()
	g.dead = true
	g.town.mu.Unlock()
	g.stop()
	g.store.Close()
}

func (w *town) fence(g *box) {
	w.mu.Lock()
	inc := w.image.Incarnation(g.node)
	w.mu.Unlock()
	if r := w.propose(metadata.Change{Fence: &metadata.Fence{Node: g.node, Incarnation: inc}}); r.Err() != nil {
		w.t.Fatal(r.Err())
	}
}

func (w *town) leader(p metadata.PartitionID) *box {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.image.Partition(p).Leader; n != metadata.NoNode {
		return w.gateways[n-1]
	}
	return nil
}

// mind is the controller as a gateway reaches it.
type mind struct{ *town }

func (c mind) Propose(_ context.Context, change metadata.Change) (metadata.Result, error) {
	return c.propose(change), nil
}

// link reaches the other gateways.
type link struct {
	*town
	from *box
}

var errCut = errors.New("the wire is cut")

func (w link) reach(n metadata.NodeID) *Manager {
	w.mu.Lock()
	defer w.mu.Unlock()
	if g := w.gateways[n-1]; !g.dead && !w.from.dead {
		return g.m
	}
	return nil
}

func (w link) Fetch(ctx context.Context, to metadata.Member, r *FetchRequest) (*FetchAnswer, error) {
	if m := w.reach(to.ID); m != nil {
		return m.Fetch(ctx, r), nil
	}
	return nil, errCut
}

func (w link) Recall(_ context.Context, to metadata.Member, r *RecallRequest) (*RecallAnswer, error) {
	w.mu.Lock()
	mute := w.mute
	w.mu.Unlock()
	if m := w.reach(to.ID); m != nil && !mute {
		return m.Recall(r), nil
	}
	return nil, errCut
}

func (w link) Produce(to metadata.Member, batches []*Append) {
	if m := w.reach(to.ID); m != nil {
		m.Produce(batches)
		return
	}
	for _, a := range batches {
		a.fail(ErrUnreachable)
	}
}

// producerDouble numbers its batches as an ingress does.
type producerDouble struct {
	id   int64
	next int32
}

func (d *producerDouble) batch(t testing.TB, records int) []byte {
	b := batch.NewBuilder(metadata.CodecNone)
	for range records {
		if _, err := b.Append(&batch.Record{Value: fmt.Appendf(nil, "%d/%d", d.id, d.next)}); err != nil {
			t.Fatal(err)
		}
	}
	one, err := b.AppendTo(nil, batch.Producer{ID: d.id, Sequence: d.next})
	if err != nil {
		t.Fatal(err)
	}
	d.next += int32(records)
	return one
}

// deliver sends one batch from a gateway and returns its answer.
func (g *box) deliver(one []byte, p metadata.PartitionID) error {
	done := make(chan *Append, 1)
	g.m.Deliver([]*Append{{Partition: p, Batch: one, Acks: metadata.AcksAll, Done: func(a *Append) { done <- a }}})
	select {
	case a := <-done:
		return a.Err
	case <-time.After(20 * time.Second):
		return errors.New("no answer")
	}
}

// insist delivers until it is taken, from any gateway that lives.
func (w *town) insist(one []byte, p metadata.PartitionID) {
	w.t.Helper()
	until := time.Now().Add(20 * time.Second)
	for i := 0; ; i++ {
		g := w.gateways[i%len(w.gateways)]
		if g.dead {
			continue
		}
		err := g.deliver(one, p)
		if err == nil {
			return
		}
		if time.Now().After(until) {
			w.t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // a retry, as an ingress has it
	}
}

// agree waits until all living copies end at the same offset and then compares
// every byte.
func (w *town) agree(p metadata.PartitionID, end int64) {
	w.t.Helper()
	until := time.Now().Add(20 * time.Second)
	var first []byte
	for _, g := range w.gateways {
		if g.dead {
			continue
		}
		log := g.store.Log(p)
		for log.HighWatermark() != end {
			if time.Now().After(until) {
				w.t.Fatalf("gateway %d: high watermark %d, end %d, want %d; %+v", g.node, log.HighWatermark(), log.EndOffset(), end, g.m.Views())
			}
			time.Sleep(time.Millisecond)
		}
		all := readAll(w.t, log)
		if first == nil {
			first = all
		} else if !bytes.Equal(first, all) {
			w.t.Fatalf("gateway %d: %d bytes differ from %d of the first", g.node, len(all), len(first))
		}
	}
}

func readAll(t testing.TB, log *segstore.Log) (all []byte) {
	for at := log.StartOffset(); at < log.HighWatermark(); {
		var err error
		n := len(all)
		if all, err = log.Read(at, all, 1<<20); err != nil {
			t.Fatal(err)
		}
		for rest := all[n:]; len(rest) > 0; {
			h, err := batch.ParseHeader(rest)
			if err != nil {
				t.Fatal(err)
			}
			at, rest = h.NextOffset(), rest[h.Size():]
		}
	}
	return all
}

func TestManagerCopies(t *testing.T) {
	w := newTown(t, 3, 4, 2)
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			p := metadata.PartitionID{Stream: "s", Partition: int32(n)}
			d := &producerDouble{id: int64(n) + 1}
			for i := range 50 {
				if err := w.gateways[(i+n)%3].deliver(d.batch(t, 3), p); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for n := range 4 {
		w.agree(metadata.PartitionID{Stream: "s", Partition: int32(n)}, 150)
	}
}

// The leader dies with batches in flight; they are sent again, and are there
// once.
func TestManagerFailover(t *testing.T) {
	w := newTown(t, 3, 1, 2)
	d := &producerDouble{id: 7}
	for round := range 3 {
		for range 10 {
			w.insist(d.batch(t, 2), townStream)
		}
		old := w.leader(townStream)
		var batches [][]byte
		var answered sync.WaitGroup
		ingress := w.gateways[old.node%3]
		failed := make(map[int]bool)
		var mu sync.Mutex
		for i := range 5 {
			one := d.batch(t, 2)
			batches = append(batches, one)
			answered.Add(1)
			ingress.m.Deliver([]*Append{{Partition: townStream, Batch: one, Acks: metadata.AcksAll, Done: func(a *Append) {
				mu.Lock()
				failed[i] = a.Err != nil
				mu.Unlock()
				answered.Done()
			}}})
		}
		old.kill()
		w.fence(old)
		answered.Wait()
		for i, one := range batches {
			if failed[i] {
				w.insist(one, townStream)
			}
		}
		w.insist(batches[len(batches)-1], townStream) // a repeat that was answered already
		old.start()
		w.agree(townStream, int64(round+1)*30)
	}
}

// A gateway that starts again remembers who had sent what.
// TestManagerFollowsAfterASlowSync: a gateway loses its leadership while its
// journal is busy, so that it can't say yet where its log ends. It follows as
// soon as it can, though nothing changes any more.
func TestManagerFollowsAfterASlowSync(t *testing.T) {
	w := newTown(t, 3, 1, 2)
	d := &producerDouble{id: 3}
	w.insist(d.batch(t, 2), townStream)
	old := w.leader(townStream)
	old.flash.held.Store(true)
	one := d.batch(t, 2)
	answered := make(chan struct{})
	old.m.Deliver([]*Append{{Partition: townStream, Batch: one, Acks: metadata.AcksAll, Done: func(*Append) { close(answered) }}})
	next := w.gateways[old.node%3]
	for until := time.Now().Add(20 * time.Second); next.store.Log(townStream).EndOffset() != 4; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the followers did not get what their leader was writing")
		}
	}
	w.fence(old)
	old.flash.held.Store(false)
	close(old.flash.word)
	<-answered
	w.insist(one, townStream)
	w.insist(d.batch(t, 2), townStream)
	w.agree(townStream, 6)
}

func TestManagerRemembersProducers(t *testing.T) {
	w := newTown(t, 1, 1, 1)
	d := &producerDouble{id: 9}
	var last []byte
	for range 20 {
		last = d.batch(t, 1)
		w.insist(last, townStream)
	}
	g := w.gateways[0]
	g.kill()
	g.start()
	w.insist(last, townStream)
	w.insist(d.batch(t, 1), townStream)
	w.agree(townStream, 21)
	gap := &producerDouble{id: 9, next: d.next + 5}
	if err := g.deliver(gap.batch(t, 1), townStream); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("a gap: %v", err)
	}
	stranger := &producerDouble{id: 11, next: 3}
	if err := g.deliver(stranger.batch(t, 1), townStream); !errors.Is(err, ErrUnknownProducer) {
		t.Errorf("a stranger in mid-stream: %v", err)
	}
}

// With too few in sync nothing is taken, and nothing is lost.
func TestManagerMinInsync(t *testing.T) {
	w := newTown(t, 3, 1, 2)
	d := &producerDouble{id: 3}
	w.insist(d.batch(t, 1), townStream)
	lead := w.leader(townStream)
	for _, g := range w.gateways {
		if g != lead {
			g.kill()
			w.fence(g)
		}
	}
	one := d.batch(t, 1)
	if err := lead.deliver(one, townStream); !errors.Is(err, ErrNotEnoughReplicas) {
		t.Fatalf("%v", err)
	}
	for _, g := range w.gateways {
		if g.dead {
			g.start()
		}
	}
	w.insist(one, townStream)
	w.agree(townStream, 2)
}

func BenchmarkManagerAppend(b *testing.B) {
	w := newTown(b, 3, 1, 2)
	d := &producerDouble{id: 5}
	lead := w.leader(townStream)
	b.ReportAllocs()
	for b.Loop() {
		if err := lead.deliver(d.batch(b, 16), townStream); err != nil {
			b.Fatal(err)
		}
	}
}
