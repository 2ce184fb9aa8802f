package forward

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// clock wakes routes.
type clock struct {
	start time.Time
	next  atomic.Int64 // since start, when to look; forever: nobody waits
	poke  chan struct{}

	mu     sync.Mutex
	active map[*route]struct{} // those that wait for a time
}

const forever = math.MaxInt64

func (c *clock) init() {
	c.start, c.poke, c.active = time.Now(), make(chan struct{}, 1), map[*route]struct{}{}
	c.next.Store(forever)
}

// wake makes sure that r is looked at at r.wakeAt, or sooner. The route's mutex
// is held.
func (c *clock) wake(r *route) {
	if !r.armed {
		r.armed = true
		c.mu.Lock()
		c.active[r] = struct{}{}
		c.mu.Unlock()
	}
	for due := int64(r.wakeAt.Sub(c.start)); ; {
		next := c.next.Load()
		if due >= next {
			return
		}
		if c.next.CompareAndSwap(next, due) {
			break
		}
	}
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

func (c *clock) wait() time.Duration {
	next := c.next.Load()
	if next == forever {
		return time.Hour
	}
	return max(time.Duration(next)-time.Since(c.start), 0)
}

// strike ticks the routes whose time has come, and forgets those that wait for
// none.
func (c *clock) strike(now time.Time) {
	c.next.Store(forever)
	c.mu.Lock()
	var all []*route
	for r := range c.active {
		all = append(all, r)
	}
	clear(c.active)
	c.mu.Unlock()
	for _, r := range all {
		r.mu.Lock()
		r.armed = false
		switch {
		case r.closed || r.wakeAt.IsZero():
		case r.wakeAt.After(now):
			c.wake(r)
		default:
			r.apply(r.q.Tick(now))
		}
		r.mu.Unlock()
	}
}
