package kafkasink

import (
	"context"
	"sync"
	"time"
)

// pacer spreads what is sent over time. It lets one request go ahead of what
// it may cost, and holds back the next until that is paid.
type pacer struct {
	perSecond int64 // 0: no cap

	mu   sync.Mutex
	free time.Time // when the next byte may leave
}

func (p *pacer) wait(ctx context.Context, bytes int) error {
	if p.perSecond <= 0 {
		return ctx.Err()
	}
	p.mu.Lock()
	now := time.Now()
	start := p.free
	if start.Before(now) {
		start = now
	}
	p.free = start.Add(time.Duration(float64(bytes) / float64(p.perSecond) * float64(time.Second)))
	p.mu.Unlock()
	return pause(ctx, start.Sub(now))
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
