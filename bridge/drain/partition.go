package drain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"cistern/gossip/metadata"
)

// partition drains one log. Everything below mu belongs to run's goroutine.
type partition struct {
	d      *Drainer
	log    Log
	id     metadata.PartitionID
	logger *slog.Logger
	cancel context.CancelFunc // nil: not started; the drainer's lock
	ended  chan struct{}      // closed when run has returned

	mu   sync.Mutex
	view PartitionStatus // what others see

	cursor  Cursor
	durable identity // the identity that PutSync last stored
	doubted bool     // the stored cursor says InDoubt
	how     Opening
	backoff Backoff
	resent  int64
	said    string // reason that was logged last

	contradicted int64   // Position at which upstream disagreed last, -1: none since the last acknowledgement
	suspect      suspect // the batch that was refused last
	refusedRun   int     // batches quarantined since the last success
}

// suspect is a batch that was refused once: it is quarantined when it is
// refused again, alone.
type suspect struct {
	offset int64
	reason string
}

func newPartition(d *Drainer, log Log) (*partition, error) {
	id := log.Partition()
	p := &partition{
		d:            d,
		log:          log,
		id:           id,
		logger:       d.cfg.Logger.With("partition", id.String()),
		ended:        make(chan struct{}),
		backoff:      Backoff{Min: BackoffMin, Max: BackoffMax},
		how:          Opening{First: true},
		contradicted: -1,
		suspect:      suspect{offset: -1},
	}
	if err := p.load(); err != nil {
		return nil, fmt.Errorf("drain %s: %w", id, err)
	}
	p.view = PartitionStatus{Partition: id, State: StateOff, Since: d.cfg.Now(), Cursor: p.cursor.Position,
		ProducerID: p.cursor.Producer, Incarnation: p.cursor.Incarnation,
		Gaps: p.cursor.Gaps, Quarantined: p.cursor.Quarantined}
	if p.cursor.Producer >= 0 {
		p.view.Target = p.cursor.Target.String()
	}
	return p, nil
}

func (p *partition) load() error {
	stored := p.d.cfg.State.Get(stateKey(p.id))
	if stored == nil {
		p.cursor = NewCursor(p.log.StartOffset())
		return nil
	}
	c, err := decodeCursor(stored)
	if err != nil {
		return err
	}
	p.cursor, p.durable, p.doubted = c, c.identity(), c.InDoubt
	return nil
}

// run drains until ctx ends: session after session, with what each failure
// asks for in between.
func (p *partition) run(ctx context.Context) {
	defer p.say(StateOff, "")
	for ctx.Err() == nil {
		kick := p.d.kick()
		p.say(StateConnecting, "")
		err := p.session(ctx)
		if ctx.Err() != nil {
			return
		}
		p.publish(0)
		p.pause(ctx, kick, p.weigh(err))
	}
}

// session opens a lane and drains through it until something fails.
func (p *partition) session(ctx context.Context) error {
	before := p.cursor.Position
	if p.cursor.InDoubt && p.d.cfg.Now().Sub(time.UnixMilli(p.cursor.AckedAt)) > SilenceMax {
		p.how.Relocate = true // the broker may have forgotten what it got
	}
	lane, err := p.d.cfg.Sink.Open(ctx, p.id, &p.cursor, p.how)
	if err != nil {
		return err
	}
	defer lane.Close()
	if p.cursor.Position != before {
		p.logger.Info("position corrected by what upstream has", "from", before, "to", p.cursor.Position)
	}
	p.how = Opening{}
	p.mu.Lock()
	p.view.Target = lane.Target()
	p.mu.Unlock()
	p.publish(0)
	s := &session{
		partition: p,
		lane:      lane,
		next:      p.cursor.Position,
		window:    1,
		results:   make(chan outcome, InFlightMax),
		timer:     time.NewTimer(SaveInterval),
	}
	defer s.close()
	return s.run(ctx)
}

// weigh turns a failure into what the next session has to find out, and how
// long to wait for it.
func (p *partition) weigh(err error) time.Duration {
	switch verdict := VerdictOf(err); {
	case verdict == Misplaced || verdict == Forgotten:
		p.how = Opening{Relocate: true, Contradicted: true, Forgotten: verdict == Forgotten}
		// A position that was corrected and refused again means that another
		// drainer is ahead: look again. The same position twice explains nothing.
		if p.contradicted == p.cursor.Position {
			p.how.Forgotten = false
			p.say(StateStopped, fmt.Sprintf("upstream refuses the sequence at offset %d, and what was found there does not explain it: %v", p.cursor.Position, err))
			return StoppedRetry
		}
		p.contradicted = p.cursor.Position
		p.say(StateRetrying, err.Error())
		return p.backoff.Next()
	case verdict == Denied:
		p.say(StateStopped, err.Error())
		return DeniedRetry
	default:
		// Answers may be lost. A broker that was killed may have stored what it
		// never answered, and not every one remembers the sequence then: look
		// before sending anything again, rather than rely on it.
		p.how.Relocate = p.how.Relocate || p.cursor.InDoubt
		p.say(StateRetrying, errorText(err))
		return p.backoff.Next()
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (p *partition) pause(ctx context.Context, kick <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-kick:
		p.backoff.Reset()
	case <-t.C:
	}
}

// errState marks failures of our own small state: nothing is sent that
// could not be remembered.
var errState = errors.New("the cursor can't be saved")

// saveSync makes the cursor durable.
func (p *partition) saveSync() error {
	if err := p.d.cfg.State.PutSync(stateKey(p.id), p.cursor.encode()); err != nil {
		return fmt.Errorf("%w: %w", errState, err)
	}
	p.durable, p.doubted = p.cursor.identity(), p.cursor.InDoubt
	return nil
}

// saveLazily may be lost by a crash; then an older position is searched from.
func (p *partition) saveLazily() {
	p.d.cfg.State.Put(stateKey(p.id), p.cursor.encode())
}
