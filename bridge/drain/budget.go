package drain

import "sync"

// budget bounds the bytes of all read buffers. Tickets are granted in the
// order of asking, so nobody starves and partitions take turns.
type budget struct {
	mu      sync.Mutex
	max     int
	used    int
	waiting []*ticket
}

// ticket is a claim on a budget. granted is closed when size bytes are its
// owner's.
type ticket struct {
	budget  *budget
	granted chan struct{}
	size    int // guarded by budget.mu
	done    bool
}

// ask returns a ticket for n bytes, which must not be more than the budget.
func (b *budget) ask(n int) *ticket {
	t := &ticket{budget: b, granted: make(chan struct{}), size: n}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, t)
	b.grant()
	return t
}

// grant serves those who wait. b.mu is held.
func (b *budget) grant() {
	for len(b.waiting) > 0 && b.used+b.waiting[0].size <= b.max {
		b.used += b.waiting[0].size
		close(b.waiting[0].granted)
		b.waiting[0] = nil
		b.waiting = b.waiting[1:]
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
		for i, w := range b.waiting {
			if w == t {
				b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
				break
			}
		}
	}
	b.grant()
}

// inUse returns the bytes granted at the moment.
func (b *budget) inUse() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
