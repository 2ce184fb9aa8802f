package natssink

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"cistern/bridge/drain"
)

// link is what is known of the way upstream. Run's loop writes it; partitions
// wait on it.
type link struct {
	now    func() time.Time
	logger *slog.Logger

	mu      sync.Mutex
	state   drain.Uplink
	said    string        // state that was logged last: up or down
	way     *way          // while up
	asked   int           // answers about the stream so far
	changed chan struct{} // closed and replaced on every change
	wake    chan struct{} // a request to ask now
}

func (l *link) init(now func() time.Time, logger *slog.Logger, urls []string) {
	l.now, l.logger = now, logger
	l.changed = make(chan struct{})
	l.wake = make(chan struct{}, 1)
	l.state = drain.Uplink{State: drain.UplinkOff, Since: now(), Brokers: urls}
}

func (l *link) status() drain.Uplink {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.state
	s.Brokers = append([]string(nil), s.Brokers...)
	return s
}

// notify wakes everybody who waits for a change. l.mu is held.
func (l *link) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *link) become(state string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set(state, err)
}

// set changes the state; err says why when it is not up. l.mu is held.
func (l *link) set(state string, err error) {
	if l.state.State != state {
		l.state.State, l.state.Since = state, l.now()
	}
	if err != nil {
		l.state.LastError, l.state.LastErrorAt = err.Error(), l.now()
	}
	if state != drain.UplinkUp {
		l.way = nil
	}
	if state == drain.UplinkDown && l.said != state {
		l.said = state
		l.logger.Warn("uplink is down", "error", err)
	}
	l.notify()
}

// lost says that the connection has ended, or that none came about.
func (l *link) lost(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	l.become(drain.UplinkDown, err)
}

// learned takes in an answer about the stream: that is what "up" means.
func (l *link) learned(w *way) {
	info, stream := w.conn.Info(), w.current()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.way = w
	l.asked++
	l.state.LastAnswer = l.now()
	l.state.ClusterID = info.Cluster
	if l.state.ClusterID == "" {
		l.state.ClusterID = info.ServerName
	}
	l.state.Mode = "expected_sequence"
	l.state.ModeWhy = "the stream takes atomic batches"
	if !stream.atomic() {
		l.state.ModeWhy = "the stream has no allow_atomic: each record costs a round trip"
	}
	if l.said != drain.UplinkUp {
		l.said = drain.UplinkUp
		l.logger.Info("uplink is up", "server", info.ServerName, "version", info.Version, "publishing", l.state.ModeWhy)
	}
	l.set(drain.UplinkUp, nil)
}

func (l *link) answered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.LastAnswer = l.now()
}

// ask has Run's loop look at the stream now.
func (l *link) ask() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// up waits until the uplink is up.
func (l *link) up(ctx context.Context) (*way, error) { return l.await(ctx, -1) }

// refresh asks about the stream and waits for the answer.
func (l *link) refresh(ctx context.Context) (*way, error) {
	l.mu.Lock()
	before := l.asked
	l.mu.Unlock()
	l.ask()
	return l.await(ctx, before)
}

// await waits until more questions than that were answered, and the uplink is up.
func (l *link) await(ctx context.Context, before int) (*way, error) {
	for {
		l.mu.Lock()
		w, asked, changed := l.way, l.asked, l.changed
		l.mu.Unlock()
		if w != nil && asked > before {
			return w, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
