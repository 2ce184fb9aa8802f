package drain

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// flow is one of the orders in which a partition's records go upstream. It has a
// producer id of its own. What is not marked belongs to the goroutine that runs
// it.
type flow struct {
	*partition
	kind Flow
	from int64
	end  int64 // the first offset that is not its

	cursor  Cursor
	durable identity // the identity that PutSync last stored
	doubted bool     // the stored cursor says InDoubt
	how     Opening
	backoff Backoff
	said    string // reason that was logged last

	contradicted int64   // Position at which upstream disagreed last, -1: none since the last acknowledgement
	suspect      suspect // the batch that was refused last
	refusedRun   int     // batches quarantined since the last success
	single       int64   // stored batches below go one by one: one of them was refused
	retime       int64   // the batch that goes with a new time, -1: none
	splitAt      int64   // where the live flow is to begin anew, see split

	skipFrom int64 // Position when it was last decided what to skip

	quiet time.Time // until then, what was sent before and never answered may arrive

	view flowView   // guarded by partition.mu: what others see
	kept flowRecord // guarded by partition.mu: what is stored, or will be next
}

// flowView is what others see of a flow.
type flowView struct {
	FlowStatus
	since  time.Time
	target string
}

// suspect is a batch that was refused once: it is quarantined when it is
// refused again, alone.
type suspect struct {
	offset int64
	reason string
}

// newFlow returns a flow as it is stored, or will be.
func newFlow(p *partition, kind Flow, r flowRecord, stored bool) *flow {
	f := &flow{
		partition: p,
		kind:      kind,
		from:      r.From,
		end:       r.End,
		kept:      r,
		backoff:   Backoff{Min: BackoffMin, Max: BackoffMax},
		how:       Opening{First: true},
	}
	f.begin(r.Cursor)
	if stored {
		f.durable, f.doubted = f.cursor.identity(), f.cursor.InDoubt
	}
	if f.cursor.InDoubt {
		f.unanswered() // by whoever drained before
	}
	f.view.State, f.view.since = StateConnecting, p.d.cfg.Now()
	if f.cursor.Producer >= 0 {
		f.view.target = f.cursor.Target.String()
	}
	return f
}

// begin sets what is true of a flow in which nothing has happened yet.
func (f *flow) begin(c Cursor) {
	f.cursor, f.skipFrom = c, c.Position
	f.durable, f.doubted = identity{}, false
	f.contradicted, f.suspect, f.retime, f.single, f.refusedRun = -1, suspect{offset: -1}, -1, 0, 0
	f.show(0)
}

// highWatermark is the first offset that the flow may not send.
func (f *flow) highWatermark() int64 { return min(f.log.HighWatermark(), f.end) }

// errDrained ends a range: all of it is upstream.
var errDrained = errors.New("drained")

// run drains until ctx ends, or until the flow's end is upstream, which it
// reports: session after session, with what each failure asks for in between.
func (f *flow) run(ctx context.Context) bool {
	for ctx.Err() == nil {
		kick := f.d.kick()
		f.say(StateConnecting, "")
		err := f.session(ctx)
		if errors.Is(err, errDrained) {
			f.publish(0)
			return true
		}
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, errBehind) {
			if err = f.split(); err == nil {
				continue
			}
		}
		f.publish(0)
		f.pause(ctx, kick, f.weigh(err))
	}
	f.how.First, f.how.Relocate = true, f.how.Relocate || f.cursor.InDoubt
	return false
}

// session opens a lane and drains through it until something fails.
func (f *flow) session(ctx context.Context) error {
	before := f.cursor.Position
	if f.cursor.InDoubt && f.d.cfg.Now().Sub(time.UnixMilli(f.cursor.AckedAt)) > SilenceMax {
		f.how.Relocate = true // the broker may have forgotten what it got
	}
	f.how.Flow = f.kind
	lane, err := f.d.cfg.Sink.Open(ctx, f.id, &f.cursor, f.how)
	if err != nil {
		return err
	}
	defer lane.Close()
	if err := f.located(before); err != nil {
		return err
	}
	f.how = Opening{}
	f.mu.Lock()
	f.view.target = lane.Target()
	f.mu.Unlock()
	f.publish(0)
	s := newSession(f, lane)
	defer s.close()
	return s.run(ctx)
}

// located deals with what the sink found out about the position.
func (f *flow) located(before int64) error {
	if f.cursor.Position != before {
		f.logger.Info("position corrected by what upstream has", "flow", f.kind, "from", before, "to", f.cursor.Position)
	}
	if f.cursor.Skip > 0 {
		if err := f.skipped(); err != nil {
			return err
		}
	}
	if f.cursor.Position < f.cursor.Moved {
		// Which offsets the sequence numbers below had is no longer known: to go on
		// from here would leave out as many records again.
		return &Error{Verdict: Denied, Err: fmt.Errorf("upstream lost records that it had confirmed, and records below offset %d were left out among or behind them: where to go on can't be told; look there what is missing, then skip to offset %d or higher", f.cursor.Moved, f.cursor.Moved)}
	}
	if f.cursor.Position > f.end {
		f.logger.Error("upstream has more of a range than it was cut to: another drainer went on where this one had split; records behind the range may be there twice",
			"end", f.end, "position", f.cursor.Position)
		f.cursor.Position = f.end
	}
	if f.cursor.Position >= f.end {
		return errDrained
	}
	return nil
}

// unanswered notes that requests were left without an answer: they may be
// anywhere between here and the broker's disk.
func (f *flow) unanswered() { f.quiet = time.Now().Add(QuietTime) }

// mayMove refuses to give sequence numbers to other records while requests that
// carry them may still arrive. Waiting means to look upstream again.
func (f *flow) mayMove() error {
	if time.Now().Before(f.quiet) {
		return fmt.Errorf("records from offset %d on won't be sent; waiting %s for requests whose answers were lost, before their sequence numbers are used for others", f.cursor.Position, QuietTime)
	}
	return nil
}

// weigh turns a failure into what the next session has to find out, and how
// long to wait for it.
func (f *flow) weigh(err error) time.Duration {
	switch verdict := VerdictOf(err); {
	case verdict == Misplaced || verdict == Forgotten:
		f.how = Opening{Relocate: true, Contradicted: true, Forgotten: verdict == Forgotten}
		// A position that was corrected and refused again means that another
		// drainer is ahead: look again. The same position twice explains nothing.
		if f.contradicted == f.cursor.Position {
			f.how.Forgotten = false
			f.say(StateStopped, fmt.Sprintf("upstream refuses the sequence at offset %d, and what was found there does not explain it: %v", f.cursor.Position, err))
			return StoppedRetry
		}
		f.contradicted = f.cursor.Position
		f.say(StateRetrying, err.Error())
		return f.backoff.Next()
	case verdict == Denied:
		f.say(StateStopped, err.Error())
		return DeniedRetry
	default:
		// Answers may be lost. A broker that was killed may have stored what it
		// never answered, and not every one remembers the sequence then: look
		// before sending anything again, rather than rely on it.
		f.how.Relocate = f.how.Relocate || f.cursor.InDoubt
		f.say(StateRetrying, errorText(err))
		return f.backoff.Next()
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (f *flow) pause(ctx context.Context, kick <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-kick:
		f.backoff.Reset()
	case <-t.C:
	}
}

// errState marks failures of our own small state: nothing is sent that
// could not be remembered.
var errState = errors.New("the cursor can't be saved")

// saveSync makes the flow's cursor durable, with what is counted at once.
func (f *flow) saveSync(counted Tallies) error {
	err := f.put(func() (undo func()) {
		was := f.kept
		f.kept.Cursor = f.cursor
		f.counts.add(counted, 1)
		return func() { f.kept = was; f.counts.add(counted, -1) }
	})
	if err == nil {
		f.durable, f.doubted = f.cursor.identity(), f.cursor.InDoubt
	}
	return err
}

// put makes a change of the record durable, or undoes it.
func (p *partition) put(change func() (undo func())) error {
	p.saving.Lock()
	defer p.saving.Unlock()
	p.mu.Lock()
	undo := change()
	b := p.record().encode()
	p.mu.Unlock()
	err := p.d.cfg.State.PutSync(stateKey(p.id), b)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unsure = err != nil
	if err != nil {
		undo()
		return fmt.Errorf("%w: %w", errState, err)
	}
	return nil
}

// saveLazily may be lost by a crash; then an older position is searched from.
func (f *flow) saveLazily() {
	f.saving.Lock()
	defer f.saving.Unlock()
	f.mu.Lock()
	f.kept.Cursor = f.cursor
	b := f.record().encode()
	f.mu.Unlock()
	f.d.cfg.State.Put(stateKey(f.id), b)
}

// isSure reports whether it is known what is stored.
func (p *partition) isSure() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.unsure
}
