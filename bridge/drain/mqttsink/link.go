package mqttsink

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"cistern/bridge/drain"
)

// link is what is known of the way upstream.
type link struct {
	now    func() time.Time
	logger *slog.Logger

	mu      sync.Mutex
	state   drain.Uplink
	said    string        // state that was logged last: up or down
	conn    *conn         // while up
	changed chan struct{} // closed and replaced on every change
	wake    chan struct{} // a back-off ends
}

func (l *link) init(now func() time.Time, logger *slog.Logger, url string) {
	l.now, l.logger = now, logger
	l.changed = make(chan struct{})
	l.wake = make(chan struct{}, 1)
	l.state = drain.Uplink{State: drain.UplinkOff, Since: now(), Brokers: []string{url},
		Mode: "at_least_once", ModeWhy: "MQTT 3.1.1 can't tell a repeat from a new message"}
}

func (l *link) status() drain.Uplink {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.state
	s.Brokers = append([]string(nil), s.Brokers...)
	return s
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
		l.conn = nil
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// lost says that the connection has ended, or that none came about. Retrying is
// in vain until the next one says otherwise.
func (l *link) lost(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.said != drain.UplinkDown {
		l.said = drain.UplinkDown
		l.logger.Warn("uplink is down", "error", err)
	}
	l.set(drain.UplinkDown, err)
}

// connected says that the broker has let us in.
func (l *link) connected(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = c
	l.state.LastAnswer = l.now()
	l.state.ClusterID = c.address
	if l.said != drain.UplinkUp {
		l.said = drain.UplinkUp
		l.logger.Info("uplink is up", "broker", c.address, "client_id", c.cfg.ClientID)
	}
	l.set(drain.UplinkUp, nil)
}

// answered notes that the broker has sent something. A broker that is silent for
// longer than AnswerTimeout while it owes an answer, to PINGREQ or to PUBLISH,
// loses the connection: so "up" means an answer in the last minute and a half.
func (l *link) answered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.LastAnswer = l.now()
}

func (l *link) kick() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// up waits for a connection.
func (l *link) up(ctx context.Context) (*conn, error) {
	for {
		l.mu.Lock()
		c, changed := l.conn, l.changed
		l.mu.Unlock()
		if c != nil {
			return c, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
