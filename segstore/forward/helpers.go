package forward

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cistern/segstore"
	"cistern/segstore/replica"
)

// outbox takes attempts to the leader in the order in which they were added,
// whoever flushes it: one at a time delivers, and takes along what others add.
type outbox struct {
	deliver func([]*replica.Append)

	mu      sync.Mutex
	waiting []*replica.Append
	spare   []*replica.Append
	busy    bool
}

func (o *outbox) add(a *replica.Append) {
	o.mu.Lock()
	o.waiting = append(o.waiting, a)
	o.mu.Unlock()
}

// flush must not be called with a route's mutex held: answers may come at once.
func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy {
		return
	}
	o.busy = true
	for len(o.waiting) > 0 {
		batches := o.waiting
		o.waiting = o.spare[:0]
		o.mu.Unlock()
		o.deliver(batches)
		clear(batches)
		o.mu.Lock()
		o.spare = batches
	}
	o.busy = false
}

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

// wake makes sure that r is looked at then, or sooner.
func (c *clock) wake(r *route, at time.Time) {
	c.mu.Lock()
	c.active[r] = struct{}{}
	c.mu.Unlock()
	for due := int64(at.Sub(c.start)); ; {
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
		switch {
		case r.closed || r.wakeAt.IsZero():
		case r.wakeAt.After(now):
			c.wake(r, r.wakeAt)
		default:
			r.apply(r.q.Tick(now))
		}
		r.mu.Unlock()
	}
}

// readers bounds how many partitions have parked batches in memory. They take
// turns.
type readers struct {
	mu      sync.Mutex
	reading map[*route]struct{}
	waiting []*route
}

// ask lets r read when it is its turn.
func (d *readers) ask(r *route) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reading == nil {
		d.reading = map[*route]struct{}{}
	}
	delete(d.reading, r)
	d.waiting = append(d.waiting, r)
	d.admit()
}

// release ends r's turn.
func (d *readers) release(r *route) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.reading[r]; ok {
		delete(d.reading, r)
		d.admit()
	}
}

func (d *readers) admit() {
	for len(d.waiting) > 0 && len(d.reading) < ReadersMax {
		r := d.waiting[0]
		d.waiting = slices.Delete(d.waiting, 0, 1)
		d.reading[r] = struct{}{}
		r.f.jobs.addRead(r)
	}
}

// jobs are done one after the other, in order, by one goroutine: what may take
// long. There are never more than a few for each route.
type jobs struct {
	mu     sync.Mutex
	list   []func()
	signal chan struct{}
	buf    []byte // to read into; the goroutine's
}

func (j *jobs) init() { j.signal = make(chan struct{}, 1) }

func (j *jobs) add(job func()) {
	j.mu.Lock()
	j.list = append(j.list, job)
	j.mu.Unlock()
	select {
	case j.signal <- struct{}{}:
	default:
	}
}

func (j *jobs) addRead(r *route) { j.add(func() { j.buf = r.readBack(j.buf) }) }

func (j *jobs) submit(s *segstore.Store, g *segstore.Group) { j.add(func() { s.Submit(g) }) }

func (j *jobs) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.signal:
		}
		j.mu.Lock()
		list := j.list
		j.list = nil
		j.mu.Unlock()
		for _, job := range list {
			job()
		}
	}
}
