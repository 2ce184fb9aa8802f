package kafkasink

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"cistern/bridge/drain"
	"cistern/bridge/kafka"
)

// link is what is known of the way upstream. Run's loop writes it; partitions
// wait on it.
type link struct {
	now    func() time.Time
	logger *slog.Logger

	mu      sync.Mutex
	state   drain.Uplink
	said    string         // state that was logged last: up or down
	cluster *kafka.Cluster // last metadata
	asked   int            // metadata answers so far
	chosen  Mode           // ModeAuto: not yet
	choice  string         // the cluster that it was chosen for
	changed chan struct{}  // closed and replaced on every change
	wake    chan struct{}  // a request to ask now
}

func (l *link) init(now func() time.Time, logger *slog.Logger, seeds []string) {
	l.now, l.logger = now, logger
	l.changed = make(chan struct{})
	l.wake = make(chan struct{}, 1)
	l.state = drain.Uplink{State: drain.UplinkOff, Since: now(), Brokers: seeds}
}

func (l *link) status() drain.Uplink {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.state
	s.Brokers = append([]string(nil), s.Brokers...)
	return s
}

// agreed reports whether the mode was chosen, for that cluster.
func (l *link) agreed(cluster string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.chosen != ModeAuto && l.choice == cluster
}

func (l *link) agree(mode Mode, why, cluster string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.chosen, l.choice = mode, cluster
	l.state.Mode, l.state.ModeWhy = mode.String(), why
}

// mode returns what was chosen. There is a choice before the link is ever up.
func (l *link) mode() Mode {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.chosen
}

// notify wakes everybody who waits for a change. l.mu is held.
func (l *link) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// become sets the state; err says why when it is not up.
func (l *link) become(state string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.State != state {
		l.state.State, l.state.Since = state, l.now()
	}
	if err != nil {
		l.state.LastError, l.state.LastErrorAt = err.Error(), l.now()
	}
	if state == drain.UplinkDown && l.said != state {
		l.said = state
		l.logger.Warn("uplink is down", "error", err)
	}
	l.notify()
}

// learned takes in an answer to a metadata request.
func (l *link) learned(c *kafka.Cluster) (previous string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cluster != nil {
		previous = l.cluster.ID
	}
	l.cluster = c
	l.asked++
	l.state.ClusterID = c.ID
	l.state.LastAnswer = l.now()
	l.state.Brokers = l.state.Brokers[:0:0]
	for _, b := range c.Brokers {
		l.state.Brokers = append(l.state.Brokers, b.Addr)
	}
	if l.state.State != drain.UplinkUp {
		l.state.State, l.state.Since = drain.UplinkUp, l.now()
	}
	if l.said != drain.UplinkUp {
		l.said = drain.UplinkUp
		l.logger.Info("uplink is up", "cluster", c.ID, "brokers", len(c.Brokers))
	}
	l.notify()
	return previous
}

// answered notes that a broker has answered something.
func (l *link) answered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.LastAnswer = l.now()
}

// check asks Run's loop to look at the uplink now. err, if any, is why: until
// the answer comes the uplink is not called up.
func (l *link) check(err error) {
	if err != nil {
		l.become(drain.UplinkConnecting, err)
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// up waits until the uplink is up and returns what the cluster said last.
func (l *link) up(ctx context.Context) (*kafka.Cluster, error) {
	for {
		l.mu.Lock()
		up, cluster, changed := l.state.State == drain.UplinkUp, l.cluster, l.changed
		l.mu.Unlock()
		if up {
			return cluster, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// refresh asks for new metadata and waits for it.
func (l *link) refresh(ctx context.Context) (*kafka.Cluster, error) {
	l.mu.Lock()
	before := l.asked
	l.mu.Unlock()
	l.check(nil)
	for {
		l.mu.Lock()
		asked, cluster, changed := l.asked, l.cluster, l.changed
		l.mu.Unlock()
		if asked > before {
			return cluster, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
