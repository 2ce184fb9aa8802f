package pace

import (
	"math/rand/v2"
	"time"
)

// What happens when the uplink is back after a long time: a thousand gateways may
// be back at the same moment, each with a backlog.
const (
	// RampAfter is how long the uplink has to be away.
	RampAfter = time.Hour
	// RampStart is the rate that is begun with, in bytes per second. It doubles every
	// RampStep until the cap is reached, or RampEnd.
	RampStart = 256 << 10
	RampStep  = 10 * time.Second
	RampEnd   = 1 << 30
	// RampDelayMax bounds the random time that nothing leaves at first.
	RampDelayMax = 5 * time.Second
)

// ramp is a cap that rises.
type ramp struct {
	rate   int64     // bytes per second; 0: none
	next   time.Time // when it doubles
	from   time.Time // nothing leaves before
	upAt   time.Time // when the uplink was last seen up; wall clock; zero: never
	before bool      // upAt is from the process before
}

func (r *ramp) load(upAt time.Time) { r.upAt, r.before = upAt, !upAt.IsZero() }

// away notes that the uplink is up, and returns how long it was not, as far as
// that is known. A process that starts without a set clock can't tell: that counts
// as long.
func (r *ramp) away(since, wall time.Time, clockSet bool) time.Duration {
	upAt, before := r.upAt, r.before
	r.upAt, r.before = wall, false
	switch {
	case upAt.IsZero():
		return 0
	case before && !clockSet:
		return RampAfter
	}
	return max(0, since.Sub(upAt))
}

// Up says that the uplink is back, after having been away for so long. With
// Config.Uplink the gate finds out by itself.
func (g *Gate) Up(away time.Duration) {
	if g == nil {
		return
	}
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settle(now)
	g.rampAfter(away, now)
	g.serve(now)
}

// rampAfter starts a ramp when the uplink was away for long.
func (g *Gate) rampAfter(away time.Duration, now time.Time) {
	if !g.cfg.RampUp || away < RampAfter {
		return
	}
	random := g.cfg.Rand
	if random == nil {
		random = func(max time.Duration) time.Duration { return rand.N(max) }
	}
	r := &g.ramp
	r.from = now.Add(random(RampDelayMax))
	r.rate, r.next = RampStart, r.from.Add(RampStep)
}

// holds says whether nothing may leave yet.
func (r *ramp) holds(now time.Time) bool { return now.Before(r.from) }

// step moves the ramp on. It ends at the cap.
func (r *ramp) step(now time.Time, limit int64) {
	if limit == 0 {
		limit = RampEnd
	}
	for r.rate > 0 && !now.Before(r.next) {
		r.rate, r.next = 2*r.rate, r.next.Add(RampStep)
		if r.rate >= limit {
			r.rate = 0
		}
	}
}

// untilStep returns when the ramp changes something; 0 is never.
func (r *ramp) untilStep(now time.Time) time.Duration {
	if r.rate == 0 {
		return 0
	}
	return max(timerMin, r.next.Sub(now))
}

// rate is the cap that holds now, in bytes per second; 0: none.
func (g *Gate) rate() int64 {
	limit, ramp := g.cfg.BytesPerSecond, g.ramp.rate
	if limit == 0 || ramp > 0 && ramp < limit {
		return ramp
	}
	return limit
}
