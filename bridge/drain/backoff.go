package drain

import (
	"math/rand/v2"
	"time"
)

// Waiting times of a drainer. They are short, because an uplink that returns
// should be used at once and one small request is all that a try costs.
const (
	BackoffMin = 100 * time.Millisecond
	BackoffMax = 5 * time.Second
	// DeniedRetry is how often a partition that needs an operator asks again.
	DeniedRetry = 10 * time.Second
	// StoppedRetry is how often a stopped partition looks upstream again.
	StoppedRetry = 5 * time.Minute
)

// Backoff is exponential, with jitter: gateways that lost an uplink together
// should not return together.
type Backoff struct {
	Min, Max time.Duration
	next     time.Duration
}

// Next returns how long to wait now: between half and all of a time that
// doubles with each call.
func (b *Backoff) Next() time.Duration {
	if b.next == 0 {
		b.next = b.Min
	}
	d := b.next
	b.next = min(2*b.next, b.Max)
	return d/2 + rand.N(d/2+1)
}

// Reset begins anew after a success.
func (b *Backoff) Reset() { b.next = 0 }
