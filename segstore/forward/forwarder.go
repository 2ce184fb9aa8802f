package forward

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/ingest"
	"cistern/segstore/replica"
)

// Leader takes finished batches to whoever leads their partitions.
// replica.Manager is one.
type Leader interface {
	// Deliver does not block. Every Append is answered once, whatever happens;
	// batches of one partition arrive in order.
	Deliver(batches []*replica.Append)
}

// Config of a Forwarder.
type Config struct {
	Store  *segstore.Store // where batches are parked
	Leader Leader
	// Image is the site's metadata, as the Leader knows it.
	Image func() *metadata.Image
	// Changed gives a channel that gets a value after Image has changed, and a
	// function that ends it.
	Changed func() (<-chan struct{}, func())
	// MinInsync is how many gateways must have a record of a stream with acks=all
	// before it is confirmed. With 1 parking confirms.
	MinInsync func(metadata.PartitionID) int
	Policy    Policy // zero fields: the defaults
	Logger    *slog.Logger
}

// Forwarder implements ingest.Journal for a gateway of a site: a [Queue] for
// each partition, joined with the leader, the store and the clock.
//
// Goroutines: Run has one that looks at the time and the site's metadata, and
// one for what may take long (making, reading and saving parked logs). All else
// happens on the goroutine that has news: the pump's, the leader's, a lane's.
//
// Locks: Forwarder.mu or route.mu first, then those of outbox, clock, readers
// and jobs.
type Forwarder struct {
	givenUp int64 // set by New
	cfg     Config
	log     *slog.Logger
	outbox  outbox
	clock   clock
	read    readers
	jobs    jobs

	mu      sync.RWMutex
	routes  map[metadata.PartitionID]*route
	stopped atomic.Bool
}

var _ ingest.Journal = (*Forwarder)(nil)

// New finds what a former process has parked. Nothing of that is sent before Run.
func New(cfg Config) (*Forwarder, error) {
	cfg.Policy.setDefaults()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Forwarder{cfg: cfg, log: cfg.Logger, routes: map[metadata.PartitionID]*route{}}
	f.outbox.deliver = cfg.Leader.Deliver
	f.clock.init()
	f.jobs.init()
	return f, f.findParked()
}

// Run forwards until ctx ends, then answers what is still unanswered with
// ingest.ErrUnavailable. What is parked stays parked for the next process.
func (f *Forwarder) Run(ctx context.Context) error {
	changed, end := f.cfg.Changed()
	defer end()
	var wg sync.WaitGroup
	wg.Go(func() { f.jobs.run(ctx) })
	for _, r := range f.all() {
		r.step((*Queue).Tick)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(f.clock.wait())
		select {
		case <-ctx.Done():
		case <-changed:
			f.changed()
		case <-f.clock.poke:
		case <-timer.C:
			f.clock.strike(time.Now())
			f.outbox.flush()
		}
	}
	f.stop()
	wg.Wait()
	return nil
}

// stop answers everything and closes the routes.
func (f *Forwarder) stop() {
	f.stopped.Store(true)
	for _, r := range f.all() {
		r.close()
	}
}

func (f *Forwarder) all() []*route {
	f.mu.RLock()
	defer f.mu.RUnlock()
	out := make([]*route, 0, len(f.routes))
	for _, r := range f.routes {
		out = append(out, r)
	}
	return out
}

// changed tells the routes that their leader is another one.
func (f *Forwarder) changed() {
	image := f.cfg.Image()
	for _, r := range f.all() {
		r.changed(image.Partition(r.id))
	}
	f.outbox.flush()
}

func (f *Forwarder) route(id metadata.PartitionID) *route {
	f.mu.RLock()
	r := f.routes[id]
	f.mu.RUnlock()
	if r != nil {
		return r
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.routes[id]; r != nil {
		return r
	}
	return f.addRoute(id)
}

// Stream implements ingest.Journal.
func (f *Forwarder) Stream(name string) (metadata.StreamConfig, bool) {
	s := f.cfg.Image().Streams[name]
	if s == nil {
		return metadata.StreamConfig{}, false
	}
	return s.Config, true
}

// Together implements ingest.Journal.
func (f *Forwarder) Together(p metadata.PartitionID) int32 {
	if state := f.cfg.Image().Partition(p); state != nil {
		return int32(state.Leader)
	}
	return int32(metadata.NoNode)
}

// Refuses implements ingest.Journal.
func (f *Forwarder) Refuses(p metadata.PartitionID) error {
	if f.stopped.Load() {
		return ingest.ErrUnavailable
	}
	return f.route(p).refuses()
}

// Submit implements ingest.Journal.
func (f *Forwarder) Submit(batches []*ingest.Batch) {
	for _, b := range batches {
		confirm := b.Acks != metadata.AcksAll || f.cfg.MinInsync(b.Partition) <= 1
		f.route(b.Partition).submit(b, confirm)
	}
	f.outbox.flush()
}

// newProducerID returns an id that nobody else has: 62 random bits, and the bit
// above them, so that it is none that a controller counts up.
func newProducerID() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return int64(binary.BigEndian.Uint64(b[:])>>2 | 1<<62)
}

// refusal translates what a leader or the store said into what the pump knows.
func refusal(err error) error {
	for _, m := range []struct{ theirs, ours error }{
		{replica.ErrFull, ingest.ErrFull},
		{segstore.ErrFull, ingest.ErrFull},
		{replica.ErrTooLarge, ingest.ErrTooLarge},
		{segstore.ErrTooLarge, ingest.ErrTooLarge},
		{replica.ErrUnknownPartition, ingest.ErrUnknownPartition},
	} {
		if errors.Is(err, m.theirs) {
			return fmt.Errorf("%w: %w", m.ours, err)
		}
	}
	return fmt.Errorf("%w: %w", ingest.ErrUnavailable, err)
}
