package forward

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cistern/gossip/controller"
	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
	"cistern/segstore/ingest"
	"cistern/segstore/replica"
	"cistern/segstore/vfs"
)

// trio is a site of three gateways in one process: real pumps, forwarders, managers
// and stores, on simulated cards and wires. It runs in a bubble, whose clock stands
// while anybody computes: what it measures is waiting for cards and wires, whatever
// else the machine does.
type trio struct {
	t     testing.TB
	wire  time.Duration // one way
	mu    sync.Mutex
	image *metadata.Image
	boxes []*trioBox
	rng   *rand.Rand

	running sync.WaitGroup
	stop    context.CancelFunc
}

const trioPartitions = 6 // each gateway leads two

type trioBox struct {
	store *segstore.Store
	m     *replica.Manager
	f     *Forwarder
	acc   *ingest.Accumulator
}

func (w *trio) propose(c metadata.Change) metadata.Result {
	w.mu.Lock()
	image, r := controller.Apply(w.image, w.image.Index+1, c)
	w.image = image
	w.mu.Unlock()
	for _, b := range w.boxes {
		if err := b.m.Apply(image); err != nil {
			w.t.Error(err)
		}
	}
	return r
}

func (w *trio) Propose(_ context.Context, c metadata.Change) (metadata.Result, error) {
	return w.propose(c), nil
}

// trioSeed: every run draws the same lengths for its ways, whoever gets them, since
// what is measured is compared with thresholds.
const trioSeed = 17

// random is less than d.
func (w *trio) random(d time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Duration(w.rng.Int64N(int64(d)))
}

// hop is one way from a gateway to another.
func (w *trio) hop() { time.Sleep(w.wire/2 + w.random(w.wire)) }

func (w *trio) Fetch(ctx context.Context, to metadata.Member, r *replica.FetchRequest) (*replica.FetchAnswer, error) {
	w.hop()
	a := w.boxes[to.ID-1].m.Fetch(ctx, r)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	w.hop()
	return a, nil
}

func (w *trio) Recall(_ context.Context, to metadata.Member, r *replica.RecallRequest) (*replica.RecallAnswer, error) {
	return w.boxes[to.ID-1].m.Recall(r), nil
}

func (w *trio) Produce(to metadata.Member, batches []*replica.Append) {
	go func() {
		w.hop()
		var there []*replica.Append
		for _, a := range batches {
			there = append(there, &replica.Append{Partition: a.Partition, Batch: a.Batch, Acks: a.Acks, Done: func(b *replica.Append) {
				go func() {
					w.hop()
					a.BaseOffset, a.Err = b.BaseOffset, b.Err
					a.Done(a)
				}()
			}})
		}
		w.boxes[to.ID-1].m.Produce(there)
	}()
}

func newTrio(t testing.TB, wire time.Duration) *trio {
	ctx, stop := context.WithCancel(t.Context())
	w := &trio{t: t, wire: wire, image: metadata.NewImage(), stop: stop, rng: rand.New(rand.NewPCG(trioSeed, 0))}
	for i := range 3 {
		b := &trioBox{}
		var err error
		if b.store, err = segstore.Open(segstore.Config{Dir: t.TempDir(), FS: vfs.NewSlowCard(vfs.OS), MaxBytes: 64 << 20}); err != nil {
			t.Fatal(err)
		}
		b.m = replica.NewManager(replica.Config{Store: b.store, Peers: w, Controller: w, MinInsync: controller.MinInsync})
		w.running.Go(func() { b.m.Run(ctx) })
		w.boxes = append(w.boxes, b)
		r := w.propose(metadata.Change{Register: &metadata.Register{Name: fmt.Sprint("g", i+1), Address: "x", Weight: 1,
			StoreID: fmt.Sprintf("%x", b.store.ID()), StoreIncarnation: b.store.Incarnation()}})
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		if err := b.m.Registered(r.Node, r.Incarnation); err != nil {
			t.Fatal(err)
		}
		b.f, err = New(Config{Store: b.store, Leader: b.m, Image: b.m.Image, Changed: b.m.Watch, MinInsync: func(metadata.PartitionID) int { return 2 }})
		if err != nil {
			t.Fatal(err)
		}
		w.running.Go(func() { b.f.Run(ctx) })
		b.acc = ingest.New(ingest.Config{Store: b.store, Journal: b.f})
	}
	c := metadata.DefaultStreamConfig("s")
	c.Partitions, c.MinInsync, c.CommitWindow, c.Replicas, c.Codec = trioPartitions, 2, 0, 3, metadata.CodecNone // compressors are pooled, across bubbles
	if r := w.propose(metadata.Change{PutStream: &metadata.PutStream{Config: c}}); r.Err() != nil {
		t.Fatal(r.Err())
	}
	return w
}

// close ends the site, as an agent ends: from the devices' side to the journal's.
func (w *trio) close() {
	for _, b := range w.boxes {
		b.acc.Close()
	}
	w.stop()
	w.running.Wait()
	time.Sleep(time.Second) // for what is on a wire
	for _, b := range w.boxes {
		if err := b.store.Close(); err != nil {
			w.t.Error(err)
		}
	}
}

func (w *trio) commits() (n int64) {
	for _, b := range w.boxes {
		n += b.store.Stats().Commits
	}
	return n
}

// device publishes one message after the other, each when the last was confirmed.
type device struct {
	to   *ingest.Accumulator
	p    metadata.PartitionID
	done chan error
}

func (d *device) Complete(_ uint64, _ int64, err error) bool { d.done <- err; return false }
func (d *device) Flush()                                     {}

func (d *device) publish(ctx context.Context) (took time.Duration, err error) {
	began := time.Now()
	if err := d.to.Append(ctx, d.p, &batch.Record{Value: make([]byte, 256)}, d, 0); err != nil {
		return 0, err
	}
	select {
	case err = <-d.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return time.Since(began), err
}

// run has so many devices publish for a while, and says how long each message took
// and how many commits all cards made for them.
func (w *trio) run(devices int, warm, each time.Duration) (took []time.Duration, commits int64) {
	ctx, cancel := context.WithCancel(w.t.Context())
	var mu sync.Mutex
	var all sync.WaitGroup
	measuring := false
	for i := range devices {
		d := &device{to: w.boxes[i%3].acc, p: metadata.PartitionID{Stream: "s", Partition: int32(i/3*5+i) % trioPartitions}, done: make(chan error, 1)}
		all.Go(func() {
			time.Sleep(w.random(10 * time.Millisecond))
			for {
				w.hop()
				d, err := d.publish(ctx)
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					w.t.Error(err)
					return
				}
				mu.Lock()
				if measuring {
					took = append(took, d)
				}
				mu.Unlock()
			}
		})
	}
	measure := func(on bool) int64 {
		mu.Lock()
		defer mu.Unlock()
		measuring = on
		return w.commits()
	}
	time.Sleep(warm)
	before := measure(true)
	time.Sleep(each)
	commits = measure(false) - before
	cancel()
	all.Wait()
	slices.Sort(took)
	return took, commits
}

// TestSiteOnCards: of three gateways with cards that take 4.3 ms for a commit. A lone
// device waits for one commit and the wire. Where there are more, those of the three
// gateways share commits: without company (segstore) 16 devices make 0.75 commits per
// message and wait 17 ms at the median.
func TestSiteOnCards(t *testing.T) {
	for _, r := range []struct {
		devices int
		median  time.Duration // at most
		commits float64       // per message
	}{{1, 6500 * time.Microsecond, 3.1}, {16, 15 * time.Millisecond, 0.6}} {
		t.Run(fmt.Sprint(r.devices), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const warm, each = 500 * time.Millisecond, time.Second
				w := newTrio(t, 300*time.Microsecond)
				took, commits := w.run(r.devices, warm, each)
				w.close()
				if len(took) == 0 {
					t.Fatal("nothing was confirmed")
				}
				median, per := took[len(took)/2], float64(commits)/float64(len(took))
				t.Logf("seed %d: %.0f/s, median %s, %.3f commits per message", trioSeed, float64(len(took))/each.Seconds(), median, per)
				if median > r.median || per > r.commits {
					t.Errorf("want at most %s and %.2f commits per message", r.median, r.commits)
				}
			})
		})
	}
}
