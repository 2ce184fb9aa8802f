package drain

import (
	"slices"
	"sync"
)

// budget bounds the bytes of all read buffers. Tickets are granted in the
// order of asking, so nobody starves and partitions take turns; those of
// backfill only while the reserve is left, so that what is new never waits for
// memory that a backlog holds.
type budget struct {
	mu       sync.Mutex
	max      int
	reserve  int // of max
	used     int
	waiting  []*ticket // for the live flows
	backfill []*ticket
}

// ticket is a claim on a budget. granted is closed when size bytes are its
// owner's.
type ticket struct {
	budget  *budget
	granted chan struct{}
	flow    Flow
	size    int // guarded by budget.mu
	done    bool
}

// ask returns a ticket for n bytes, which must not be more than the budget
// without its reserve.
func (b *budget) ask(flow Flow, n int) *ticket {
	t := &ticket{budget: b, flow: flow, granted: make(chan struct{}), size: n}
	b.mu.Lock()
	defer b.mu.Unlock()
	queue := b.queue(flow)
	*queue = append(*queue, t)
	b.grant()
	return t
}

// take returns a granted ticket for n bytes that are in use already. It may
// exceed the budget: then nobody is granted more until enough came back.
func (b *budget) take(n int) *ticket {
	t := &ticket{budget: b, granted: make(chan struct{}), size: n}
	close(t.granted)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used += n
	return t
}

// exceeded reports whether more is in use than should be.
func (b *budget) exceeded() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used > b.max
}

func (b *budget) queue(flow Flow) *[]*ticket {
	if flow == Backfill {
		return &b.backfill
	}
	return &b.waiting
}

// grant serves those who wait. b.mu is held.
func (b *budget) grant() {
	b.grantUpTo(&b.waiting, b.max)
	if len(b.waiting) == 0 {
		b.grantUpTo(&b.backfill, b.max-b.reserve)
	}
}

func (b *budget) grantUpTo(queue *[]*ticket, most int) {
	for w := *queue; len(w) > 0 && b.used+w[0].size <= most; w = *queue {
		b.used += w[0].size
		close(w[0].granted)
		w[0] = nil
		*queue = w[1:]
	}
}

// isGranted reports whether the bytes are ours.
func (t *ticket) isGranted() bool {
	select {
	case <-t.granted:
		return true
	default:
		return false
	}
}

// keep gives back all but n bytes of a granted ticket.
func (t *ticket) keep(n int) {
	t.budget.mu.Lock()
	defer t.budget.mu.Unlock()
	t.budget.used += n - t.size
	t.size = n
	t.budget.grant()
}

// release gives everything back, or the place in the queue. It may be called
// more than once.
func (t *ticket) release() {
	b := t.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.done {
		return
	}
	t.done = true
	if t.isGranted() {
		b.used -= t.size
	} else {
		queue := b.queue(t.flow)
		*queue = slices.DeleteFunc(*queue, func(w *ticket) bool { return w == t })
	}
	b.grant()
}

// inUse returns the bytes granted at the moment.
func (b *budget) inUse() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
