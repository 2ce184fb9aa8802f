package source

import (
	"math/rand/v2"
	"time"
)

// backoff spaces attempts: doubling up to a cap, each shortened at random by up
// to half, so that gateways which lost one broker together don't return
// together.
type backoff struct {
	min, max time.Duration
	last     time.Duration
}

func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, b.min), b.max)
	return b.last/2 + rand.N(b.last/2+1)
}

func (b *backoff) reset() { b.last = 0 }
