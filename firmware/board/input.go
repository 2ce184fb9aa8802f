package board

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

const (
	// lookEvery is how long a line is trusted to tell of its edges by itself.
	lookEvery = time.Second
	// restless is how long a line may go on changing before it is a problem.
	restless = 2 * SettleMax
	// edgesKept is how many edges the kernel keeps for whoever reads them.
	edgesKept = 16
)

var errRestless = errors.New("it never holds still: is it connected, does it need a pull?")

// input is a line whose level is believed when it has held still.
type input struct {
	pin       pin
	activeLow bool
	settle    time.Duration
	spurious  atomic.Int64
	problem   func(error)
}

func (in *input) active() bool { return bool(in.pin.Read()) != in.activeLow }

// change waits until the line holds still at another level than was, and tells
// when it left it. It is false when ctx is done or the time until (if any) is
// there first.
func (in *input) change(ctx context.Context, was bool, until time.Time) (at time.Time, changed bool) {
	for ctx.Err() == nil {
		wait, edges := lookEvery, int64(0)
		if !until.IsZero() {
			if wait = min(wait, time.Until(until)); wait <= 0 {
				return time.Time{}, false
			}
		}
		if in.active() == was {
			if !in.edge(ctx, wait) {
				continue
			}
			edges++
		}
		at = time.Now()
		more, still := in.hold(ctx)
		if ctx.Err() != nil {
			break
		}
		if !still {
			in.spurious.Add(edges + more)
			in.problem(errRestless)
			continue
		}
		in.problem(nil)
		if in.active() != was {
			return at, true
		}
		in.spurious.Add(edges + more)
	}
	return time.Time{}, false
}

// hold waits until the line has held still, or has not for too long, and counts
// its edges in the meantime: not all of a line that hums, which must not keep a
// processor busy. The kernel keeps the first edges that nobody takes.
func (in *input) hold(ctx context.Context) (edges int64, still bool) {
	for began := time.Now(); ctx.Err() == nil; edges++ {
		if time.Since(began) >= restless {
			return edges, false
		}
		if edges%edgesKept == edgesKept-1 {
			rest(ctx, in.settle)
		}
		if !in.edge(ctx, in.settle) {
			return edges, true
		}
	}
	return edges, false
}

// edge waits for an edge for that long. A driver that fails says at once that
// there was none, and must not make this a loop that burns the processor.
func (in *input) edge(ctx context.Context, wait time.Duration) bool {
	began := time.Now()
	if in.pin.WaitForEdge(wait) {
		return true
	}
	rest(ctx, wait-time.Since(began))
	return false
}

func rest(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// watchPower tells each change of the power-fail line, and at the start that
// the power is away.
func (b *Board) watchPower(ctx context.Context) {
	for away := false; ; away = !away {
		at, changed := b.power.change(ctx, away, time.Time{})
		if !changed {
			return
		}
		kind := PowerFailed
		if away {
			kind = PowerBack
		}
		b.tell(ctx, Event{kind, at})
	}
}

var errPressed = errors.New("it is pressed since the start, and counts from when it was let go: is active_low right?")

// watchButton tells when the button was held. One that is down from the start
// is stuck, or wired the other way, and would switch the gateway off at each
// start: it has to be let go first.
func (b *Board) watchButton(ctx context.Context) {
	in := b.button
	if in.active() {
		in.problem(errPressed)
		in.change(ctx, true, time.Time{})
		in.problem(nil)
	}
	for {
		at, pressed := in.change(ctx, false, time.Time{})
		if !pressed {
			return
		}
		if _, released := in.change(ctx, true, at.Add(b.hold)); released {
			b.shortPresses.Add(1)
			continue
		}
		if ctx.Err() != nil {
			return
		}
		b.tell(ctx, Event{ButtonHeld, at})
		if _, released := in.change(ctx, true, time.Time{}); !released {
			return
		}
	}
}
