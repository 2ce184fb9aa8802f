package mqtt

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// memory is a budget of bytes that many clients share.
type memory struct {
	max  int64
	used atomic.Int64
}

// Reserve takes n bytes of the budget, or nothing and false. To take less than
// nothing always succeeds.
func (m *memory) Reserve(n int) bool {
	if m.used.Add(int64(n)) <= m.max || n <= 0 {
		return true
	}
	m.used.Add(-int64(n))
	return false
}

// Release gives n bytes back.
func (m *memory) Release(n int) { m.used.Add(-int64(n)) }

// rateLimiter is a token bucket per client address. It remembers a bounded
// number of addresses; a full bucket says nothing and is forgotten first.
type rateLimiter struct {
	rate, burst float64

	mu      sync.Mutex
	buckets map[netip.Addr]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

const rateAddressesMax = 4096

// allow takes a token of addr's bucket.
func (l *rateLimiter) allow(addr netip.Addr, now time.Time) bool {
	addr = addr.Unmap()
	if addr.Is6() { // one subscriber line owns a whole /64
		if p, err := addr.WithZone("").Prefix(64); err == nil {
			addr = p.Addr()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[addr]
	if b == nil {
		if len(l.buckets) >= rateAddressesMax {
			l.forget(now)
		}
		b = &bucket{tokens: l.burst, at: now}
		l.buckets[addr] = b
	}
	b.tokens = min(l.burst, b.tokens+now.Sub(b.at).Seconds()*l.rate)
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// forget drops the buckets that are full again, all of them when none is.
func (l *rateLimiter) forget(now time.Time) {
	for addr, b := range l.buckets {
		if b.tokens+now.Sub(b.at).Seconds()*l.rate >= l.burst {
			delete(l.buckets, addr)
		}
	}
	if len(l.buckets) >= rateAddressesMax {
		clear(l.buckets)
	}
}

// calmLog warns about what clients can cause: each kind of event at most once
// per interval, with the number that was left out, so that a hostile client
// can't fill the flash with log lines.
type calmLog struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[string]*calmKind // keyed by message, so bounded by the source
}

type calmKind struct {
	next    time.Time
	skipped int
}

const calmInterval = 10 * time.Second

func (c *calmLog) warn(msg string, args ...any) {
	c.mu.Lock()
	k := c.kinds[msg]
	if k == nil {
		k = &calmKind{}
		c.kinds[msg] = k
	}
	now := time.Now()
	if now.Before(k.next) {
		k.skipped++
		c.mu.Unlock()
		return
	}
	if k.skipped > 0 {
		args = append(args, "skipped_since_last", k.skipped)
	}
	k.next, k.skipped = now.Add(calmInterval), 0
	c.mu.Unlock()
	c.log.Log(context.Background(), slog.LevelWarn, msg, args...)
}
