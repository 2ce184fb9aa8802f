package drain

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"

	"cistern/gossip/metadata"
)

// partition drains one log, in one or more flows. It owns what is stored of them
// and what others see; each flow has its own goroutine's state.
type partition struct {
	d      *Drainer
	log    Log
	id     metadata.PartitionID
	term   Term
	logger *slog.Logger
	cancel context.CancelFunc // nil: not started; the drainer's lock
	ended  chan struct{}      // closed when run has returned
	outer  context.Context    // of run: it ends when the drain stops, not when it is interrupted
	more   chan struct{}      // gets a value when a range was added

	resent atomic.Int64 // batches sent again, since Run

	admin chan struct{} // taken by who pauses or skips: one at a time

	// saving is held while the record is written, so that what is stored never
	// goes back. It is taken before mu.
	saving sync.Mutex

	mu      sync.Mutex
	turn    *turn
	hold    chan struct{} // not nil: no flow may run until it is closed
	paused  bool
	unclean int32
	counts  Tallies
	live    *flow   // the record's Live
	older   []*flow // ranges, oldest first
	unsure  bool    // the last PutSync failed: nobody knows what is stored
	low     int64   // what OnCursor was told last
	running bool

	telling sync.Mutex // held around OnCursor
}

// turn is a time in which flows run without an interruption.
type turn struct {
	stop  context.CancelFunc
	ended chan struct{}
}

func newPartition(d *Drainer, log Log, term Term) (*partition, error) {
	id := log.Partition()
	p := &partition{
		d:      d,
		log:    log,
		id:     id,
		term:   term,
		logger: d.cfg.Logger.With("partition", id.String()),
		ended:  make(chan struct{}),
		more:   make(chan struct{}, 1),
		admin:  make(chan struct{}, 1),
	}
	if err := p.load(); err != nil {
		return nil, fmt.Errorf("drain %s: %w", id, err)
	}
	p.low = p.lowest()
	return p, nil
}

func (p *partition) load() error {
	r := newRecord(p.log.StartOffset(), p.term.Unclean)
	stored := p.d.cfg.State.Get(stateKey(p.id))
	if stored != nil {
		var err error
		if r, err = decodeRecord(stored); err != nil {
			return err
		}
	}
	if r.Unclean < 0 {
		r.Unclean = p.term.Unclean // written before elections were told
	}
	p.paused, p.unclean, p.counts = r.Paused, r.Unclean, r.Counts
	p.live = newFlow(p, Live, r.Live, stored != nil)
	p.live.end = math.MaxInt64
	p.live.show(0) // with the end that it has now
	for _, o := range r.Older {
		p.older = append(p.older, newFlow(p, Backfill, o, true))
	}
	return nil
}

// record returns what is to be stored. p.mu is held.
func (p *partition) record() *record {
	r := &record{Version: recordVersion, Paused: p.paused, Unclean: p.unclean, Counts: p.counts, Live: p.live.kept}
	for _, f := range p.older {
		r.Older = append(r.Older, f.kept)
	}
	return r
}

// lowest returns the lowest offset that is neither upstream nor given up. p.mu
// is held, or nobody else knows p.
func (p *partition) lowest() int64 {
	if len(p.older) > 0 {
		return p.older[0].view.Position
	}
	return p.live.view.Position
}

func (p *partition) position() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lowest()
}

// told tells the owner of the log when the lowest position has moved.
func (p *partition) told() {
	p.telling.Lock()
	defer p.telling.Unlock()
	p.mu.Lock()
	low := p.lowest()
	moved := low != p.low
	p.low = low
	p.mu.Unlock()
	if moved {
		p.d.cfg.OnCursor(p.id, low)
	}
}

// run drains until ctx ends, with interruptions.
func (p *partition) run(ctx context.Context) {
	p.outer = ctx
	p.setRunning(true)
	defer p.setRunning(false)
	for ctx.Err() == nil {
		p.mu.Lock()
		hold := p.hold
		var t *turn
		var turnCtx context.Context
		if hold == nil {
			turnCtx, t = newTurn(ctx)
			p.turn = t
		}
		paused := p.paused
		p.mu.Unlock()
		switch {
		case t == nil:
			select {
			case <-hold:
			case <-ctx.Done():
			}
			continue
		case paused:
			<-turnCtx.Done()
		default:
			p.drain(turnCtx)
		}
		p.mu.Lock()
		p.turn = nil
		p.mu.Unlock()
		t.stop()
		close(t.ended)
	}
}

func newTurn(ctx context.Context) (context.Context, *turn) {
	ctx, cancel := context.WithCancel(ctx)
	return ctx, &turn{stop: cancel, ended: make(chan struct{})}
}

func (p *partition) setRunning(on bool) {
	p.mu.Lock()
	p.running = on
	p.mu.Unlock()
}

// drain runs the flows until ctx ends: under OrderLiveFirst the live one and,
// beside it, ranges one after the other; otherwise all of them in the order of
// their offsets.
func (p *partition) drain(ctx context.Context) {
	if !p.reconcile(ctx) {
		return
	}
	if p.d.cfg.Order != OrderLiveFirst {
		p.backfill(ctx, false)
		p.live.run(ctx)
		return
	}
	var group sync.WaitGroup
	group.Go(func() { p.backfill(ctx, true) })
	p.live.run(ctx)
	group.Wait()
}

// backfill drains ranges, oldest first, until there is none, or with stay until
// ctx ends.
func (p *partition) backfill(ctx context.Context, stay bool) {
	for ctx.Err() == nil {
		f := p.oldest()
		switch {
		case f != nil:
			if f.run(ctx) {
				p.retire(f)
			}
		case !stay:
			return
		default:
			select {
			case <-p.more:
			case <-ctx.Done():
			}
		}
	}
}

func (p *partition) oldest() *flow {
	p.saving.Lock() // a range that is not durable yet is none
	defer p.saving.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.older) == 0 {
		return nil
	}
	return p.older[0]
}

// retire takes the oldest range away: all of it is upstream. A crash may bring it
// back; then looking upstream ends it again.
func (p *partition) retire(f *flow) {
	p.saving.Lock()
	p.mu.Lock()
	p.older = p.older[1:]
	b := p.record().encode()
	p.mu.Unlock()
	p.d.cfg.State.Put(stateKey(p.id), b)
	p.saving.Unlock()
	p.logger.Info("backlog drained", "first", f.from, "next", f.end)
	p.told()
}

// interrupted runs change while no flow runs.
func (p *partition) interrupted(ctx context.Context, change func() error) error {
	select {
	case p.admin <- struct{}{}:
		defer func() { <-p.admin }()
	case <-ctx.Done():
		return ctx.Err()
	}
	hold := make(chan struct{})
	p.mu.Lock()
	p.hold = hold
	t := p.turn
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.hold = nil
		p.mu.Unlock()
		close(hold)
	}()
	if t != nil {
		t.stop()
		select {
		case <-t.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return change()
}
