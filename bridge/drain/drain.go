package drain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"cistern/bridge/drain/pace"
	"cistern/bridge/drain/shape"
	"cistern/gossip/metadata"
)

// Limits of a session.
const (
	// InFlightMax is how many batches of a partition may be unanswered: a
	// Kafka broker remembers the last five of each producer, and recognises
	// a resend only among them.
	InFlightMax = 5
	// SaveInterval and SaveEvery bound how far a saved cursor lags, and so
	// how much of the upstream tail is searched after a crash.
	SaveInterval = time.Second
	SaveEvery    = 64 // batches
	// SettleAfter is the silence after which "in doubt" is withdrawn. Each
	// withdrawal costs a synced write when records come again.
	SettleAfter = 10 * time.Minute
	// SilenceMax is the silence after which upstream may have forgotten the
	// producer (a day on Kafka), so that the position is looked up first.
	SilenceMax = 12 * time.Hour
	// StopGrace is how long a clean stop waits for answers that are due.
	StopGrace = 2 * time.Second
	// QuietTime is how long a request whose answer was lost may take to arrive.
	QuietTime = 10 * time.Second
	// RefusedRunMax is how many batches in a row may be quarantined. More
	// than that is not poison but a topic that is set up wrong.
	RefusedRunMax = 16
)

// Config says what is drained, and where to.
type Config struct {
	Sink       Sink
	State      State
	Quarantine Quarantine

	Mender      Mender // nil: what flash lost here is lost
	BufferBytes int    // all read buffers together; 0: BufferBytesDefault

	Order  Order                      // the zero value is strict
	Gate   *pace.Gate                 // when bytes may leave; nil: always
	Shaper *shape.Shaper              // what leaves; nil: the very batches that lie on flash
	Site   string                     // for the ids of records, see Traits.Identified
	LaneOf func(stream string) string // whose turn it is at the Gate; nil: all share one lane

	// OnCursor is called when a partition's cursor has moved: records below
	// offset are upstream (or were given up), and retention may drop them. It
	// is called from the partition's goroutines, one call at a time, and must not
	// block.
	OnCursor func(p metadata.PartitionID, offset int64)

	Logger *slog.Logger     // nil: slog.Default
	Now    func() time.Time // nil: time.Now
}

func (c *Config) check() error {
	switch {
	case c.Sink == nil || c.State == nil || c.Quarantine == nil:
		return errors.New("drain: sink, state and quarantine are needed")
	case c.BufferBytes == 0:
		c.BufferBytes = BufferBytesDefault
	case c.Order == OrderLiveFirst && c.BufferBytes < 2*BufferBytesMin:
		return fmt.Errorf("drain: buffer is %d bytes, two flows need to fit the largest batch each: %d", c.BufferBytes, 2*BufferBytesMin)
	case c.BufferBytes < BufferBytesMin:
		return fmt.Errorf("drain: buffer is %d bytes, it needs to fit the largest batch: %d", c.BufferBytes, BufferBytesMin)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.LaneOf == nil {
		c.LaneOf = func(string) string { return "" }
	}
	if c.OnCursor == nil {
		c.OnCursor = func(metadata.PartitionID, int64) {}
	}
	return nil
}

// reserve is the memory that backfill leaves to what is new.
func (c *Config) reserve() int {
	if c.Order == OrderLiveFirst {
		return BufferBytesMin
	}
	return 0
}

// Drainer drains partitions into a sink.
type Drainer struct {
	cfg    Config
	budget budget
	pool   bufferPool
	meter  meter

	mu         sync.Mutex
	partitions map[metadata.PartitionID]*partition
	order      []*partition // as they were added
	start      func(*partition)
	kicked     chan struct{} // closed and replaced by Kick
}

// New returns a drainer. Nothing is started before Run.
func New(cfg Config) (*Drainer, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Drainer{
		cfg:        cfg,
		budget:     budget{max: cfg.BufferBytes, reserve: cfg.reserve()},
		pool:       bufferPool{size: max(ChunkBytes, min(cfg.Shaper.Reach(), metadata.BatchBytesMax))},
		partitions: map[metadata.PartitionID]*partition{},
		kicked:     make(chan struct{}),
	}, nil
}

// Add gives the drainer one more partition, before Run or during it. It fails
// when the stored cursor can't be understood: draining on would double records.
func (d *Drainer) Add(log Log, term Term) error {
	p, err := newPartition(d, log, term)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.partitions[p.id] != nil {
		return fmt.Errorf("drain %s: added twice", p.id)
	}
	d.partitions[p.id] = p
	d.order = append(d.order, p)
	if d.start != nil {
		d.start(p)
	}
	return nil
}

// Remove takes a partition away: somebody else drains it now. It returns when
// the partition's last answer is in and its cursor is saved.
func (d *Drainer) Remove(id metadata.PartitionID) {
	d.mu.Lock()
	p := d.partitions[id]
	if p == nil {
		d.mu.Unlock()
		return
	}
	delete(d.partitions, id)
	d.order = slices.DeleteFunc(d.order, func(o *partition) bool { return o == p })
	cancel := p.cancel
	d.mu.Unlock()
	if cancel != nil {
		cancel()
		<-p.ended
	}
}

// Run drains until ctx ends. Partitions stop first: they wait a moment for the
// answers that are due and save their cursors. Then the sink stops.
func (d *Drainer) Run(ctx context.Context) error {
	sinkCtx, stopSink := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSink()
	sinkDone := make(chan error, 1)
	partCtx, stopPartitions := context.WithCancel(ctx)
	defer stopPartitions()
	go func() {
		sinkDone <- d.cfg.Sink.Run(sinkCtx)
		stopPartitions() // without a sink there is nothing to do
	}()

	var group sync.WaitGroup
	d.startAll(func(p *partition) {
		ctx, cancel := context.WithCancel(partCtx)
		p.cancel = cancel
		group.Go(func() {
			defer close(p.ended)
			defer cancel()
			p.run(ctx)
		})
	})
	<-partCtx.Done()
	d.startAll(nil)
	group.Wait()
	stopSink()
	if err := <-sinkDone; err != nil && ctx.Err() == nil {
		return fmt.Errorf("drain: %w", err)
	}
	return nil
}

// startAll starts every partition and sets how later ones start; nil: not.
func (d *Drainer) startAll(start func(*partition)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.start = start
	if start == nil {
		return
	}
	for _, p := range d.order {
		start(p)
	}
}

// Cursor returns the first offset of a partition that is not known to be
// upstream, and whether the drainer has that partition.
func (d *Drainer) Cursor(p metadata.PartitionID) (offset int64, ok bool) {
	d.mu.Lock()
	part := d.partitions[p]
	d.mu.Unlock()
	if part == nil {
		return 0, false
	}
	return part.position(), true
}

// Kick ends every back-off: something has changed, try now.
func (d *Drainer) Kick() {
	d.mu.Lock()
	close(d.kicked)
	d.kicked = make(chan struct{})
	d.mu.Unlock()
	d.cfg.Sink.Kick()
}

func (d *Drainer) kick() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.kicked
}
