package port

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Stats counts what happened at the port since Listen.
type Stats struct {
	Connections int // accepted and open, handshakes included
	Handshakes  int // that run now

	Evicted  int64 // gave way to a newer handshake
	OtherKey int64 // refused: another site key
	Full     int64 // refused: ConnectionsMax or PendingMax
	Invalid  int64 // refused: no TLS, no certificate, no protocol, too slow
}

type stats struct{ evicted, otherKey, full, invalid atomic.Int64 }

// Stats returns the counts as they are now.
func (p *Port) Stats() Stats {
	p.mu.Lock()
	open := len(p.conns)
	p.mu.Unlock()
	return Stats{Connections: open, Handshakes: p.gate.len(), Evicted: p.stats.evicted.Load(),
		OtherKey: p.stats.otherKey.Load(), Full: p.stats.full.Load(), Invalid: p.stats.invalid.Load()}
}

// tellEvery is how often the same thing is said at most: a flood of connections
// must not become a flood of log lines.
const tellEvery = time.Minute

// teller remembers when each message was said last. Messages are constants, so
// it stays small.
type teller struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func (t *teller) due(message string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if last, ok := t.last[message]; ok && now.Sub(last) < tellEvery {
		return false
	}
	if t.last == nil {
		t.last = map[string]time.Time{}
	}
	t.last[message] = now
	return true
}

func (p *Port) log() *slog.Logger {
	if p.Logger != nil {
		return p.Logger
	}
	return slog.Default()
}

// say logs a message once a minute at most.
func (p *Port) say(level slog.Level, message string, args ...any) {
	if p.tell.due(message) {
		p.log().Log(context.Background(), level, message, args...)
	}
}
