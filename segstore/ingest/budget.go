package ingest

import (
	"sync"
	"time"

	"cistern/segstore"
)

// budget finds the commit window of streams that say "auto": as short as the
// daily write budget allows.
//
// It is a token bucket. A day's budget flows in evenly, what the journal
// writes flows out, and it holds an hour's worth. While it is more than half
// full, commits do not wait: a burst is as fast as the device. Below, the
// window grows evenly, and is the stream's latency ceiling when the bucket is
// empty. So a steady load settles where it writes what the budget allows, or
// waits as long as it may.
type budget struct {
	perSecond float64
	capacity  float64
	stats     func() segstore.Stats

	mu      sync.Mutex
	level   float64
	written int64
	last    time.Time
}

const budgetHolds = time.Hour

func newBudget(daily int64, stats func() segstore.Stats) *budget {
	perSecond := float64(daily) / (24 * time.Hour).Seconds()
	b := &budget{perSecond: perSecond, capacity: perSecond * budgetHolds.Seconds(), stats: stats, last: time.Now()}
	b.level = b.capacity
	return b
}

// budgetStep is how often the level is looked at anew.
const budgetStep = 10 * time.Millisecond

// window returns the commit window of a stream with this latency ceiling.
func (b *budget) window(ceiling time.Duration) time.Duration {
	if b.perSecond == 0 {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); now.Sub(b.last) >= budgetStep {
		b.flow(now.Sub(b.last), b.stats().BytesWritten)
		b.last = now
	}
	return windowAt(b.level/b.capacity, ceiling)
}

func (b *budget) flow(passed time.Duration, written int64) {
	b.level += passed.Seconds()*b.perSecond - float64(written-b.written)
	b.level = min(max(b.level, 0), b.capacity)
	b.written = written
}

func windowAt(fill float64, ceiling time.Duration) time.Duration {
	const fast = 0.5
	if fill >= fast {
		return 0
	}
	return time.Duration((1 - fill/fast) * float64(ceiling))
}
