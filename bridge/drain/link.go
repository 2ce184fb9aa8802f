package drain

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Link is the way upstream, as a Sink knows it. It holds the state that
// Sink.Uplink tells and, while that is up, a T: whatever it takes to go there,
// such as a connection, or what the cluster last said of itself.
//
// Two sides meet here. Sink.Run looks after the way: it says what became of it
// (Become, Up) and looks again when Wake tells it to. Sink.Open needs the way: it
// takes what there is (Await), or what the next look finds (Refresh). That the way
// is up or down is logged when it changes, not with every try.
//
// Init comes first; after it all methods may be called from any goroutine.
type Link[T any] struct {
	now    func() time.Time
	logger *slog.Logger
	wake   chan struct{} // a request to look now

	mu      sync.Mutex
	state   Uplink
	use     T             // while up
	said    string        // state that was logged last: up or down
	answers uint64        // calls of Up
	changed chan struct{} // closed and replaced on every change
}

// Init prepares a link that is off. u says what is known before anybody has
// asked: the addresses.
func (l *Link[T]) Init(now func() time.Time, logger *slog.Logger, u Uplink) {
	l.now, l.logger, l.state = now, logger, u
	l.state.State, l.state.Since = UplinkOff, now()
	l.wake, l.changed = make(chan struct{}, 1), make(chan struct{})
}

// Status returns the state. It is the caller's.
func (l *Link[T]) Status() Uplink {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.state
	s.Brokers = slices.Clone(s.Brokers)
	return s
}

// Become says that the way is off, down, or being tried: not up. What it took to
// go there is let go. err says why; nil when that is nobody's fault.
func (l *Link[T]) Become(state string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var none T
	l.use = none
	if err != nil {
		l.state.LastError, l.state.LastErrorAt = err.Error(), l.now()
	}
	if state == UplinkDown && l.said != state {
		l.said = state
		l.logger.Warn("uplink is down", "error", err)
	}
	l.enter(state)
}

// Up says that upstream has answered, and that use is what it takes to go there.
// learn puts what the answer tells into the status. log is what is said besides
// when the way was down, or never up, before: keys and values as in slog.
func (l *Link[T]) Up(use T, learn func(*Uplink), log ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.use = use
	l.answers++
	l.state.LastAnswer = l.now()
	learn(&l.state)
	if l.said != UplinkUp {
		l.said = UplinkUp
		l.logger.Info("uplink is up", log...)
	}
	l.enter(UplinkUp)
}

// enter changes the state and tells everybody who waits. l.mu is held.
func (l *Link[T]) enter(state string) {
	if l.state.State != state {
		l.state.State, l.state.Since = state, l.now()
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// Answered notes that upstream has sent something: it is there.
func (l *Link[T]) Answered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.LastAnswer = l.now()
}

// Kick asks for a look at the way now. Requests that come together are one.
func (l *Link[T]) Kick() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Wake returns a channel that gets a value after Kick. It is Sink.Run's to read.
func (l *Link[T]) Wake() <-chan struct{} { return l.wake }

// Await waits until the way is up and returns what it takes to go there. It fails
// when ctx ends, and only then.
func (l *Link[T]) Await(ctx context.Context) (T, error) { return l.await(ctx, 0) }

// Refresh is Await for those whom the last answer did not satisfy: it asks for a
// look at the way and waits for an answer to come.
func (l *Link[T]) Refresh(ctx context.Context) (T, error) {
	l.mu.Lock()
	before := l.answers
	l.mu.Unlock()
	l.Kick()
	return l.await(ctx, before)
}

// await waits until there were more answers than that, and the way is up.
func (l *Link[T]) await(ctx context.Context, before uint64) (T, error) {
	for {
		l.mu.Lock()
		use, changed := l.use, l.changed
		ready := l.state.State == UplinkUp && l.answers > before
		l.mu.Unlock()
		if ready {
			return use, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
}
