package rig

import (
	"sync"
	"time"
)

// patience measures how long a device has to wait from one confirmation to the
// next.
type patience struct {
	mu   sync.Mutex
	last time.Time
	most time.Duration
}

// begin starts the clock: no confirmation was expected before.
func (p *patience) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.most = time.Now(), 0
}

func (p *patience) rewarded() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !p.last.IsZero() {
		p.most = max(p.most, now.Sub(p.last))
	}
	p.last = now
}

// forget leaves the clock running: the wait of this moment is not over.
func (p *patience) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = 0
}

func (p *patience) longest() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last.IsZero() {
		return 0
	}
	return max(p.most, time.Since(p.last))
}

// now is the wait of this moment.
func (p *patience) now() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last.IsZero() {
		return 0
	}
	return time.Since(p.last)
}
