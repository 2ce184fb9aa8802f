package forward

import (
	"sync"

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
