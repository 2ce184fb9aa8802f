// Package clock sets the machine's clock: at boot no lower than what it must at
// least be, then by SNTP, in one step if it is far off the first time, and from
// then on by running a little faster or slower, since records carry its times.
//
// Until a time server has been heard the kernel's flag STA_UNSYNC stays set,
// which is what the agent reads: it marks records it takes meanwhile.
package clock

import (
	"fmt"
	"slices"
	"time"
)

// DefaultServers are asked when neither the operator nor the network names any.
var DefaultServers = []string{"pool.ntp.org"}

const (
	// stepAbove: a clock that is off by less is not stepped, but slewed: at
	// 500 ppm that takes 17 minutes at most.
	stepAbove = 500 * time.Millisecond
	// believeMax is what a clock that was once set can be wrong by later. A
	// server that says more is not followed.
	believeMax = time.Minute
	// apartMax is what servers may differ by and still be taken as agreeing.
	apartMax = time.Second

	pollSynced = 1024 * time.Second
	pollMin    = 2 * time.Second
	pollMax    = 64 * time.Second
)

// Floor is what the clock is set to at boot, and whether it must be: no earlier
// than the image was built, and than was noted at the last stop.
func Floor(now, built, kept time.Time) (time.Time, bool) {
	floor := built
	if kept.After(floor) {
		floor = kept
	}
	return floor, now.Before(floor)
}

// Action is what to do with the clock.
type Action int

const (
	Leave Action = iota // nothing is known well enough
	Step                // set it
	Slew                // let it run towards the time
)

// Decide says what the offsets that servers gave mean, for a clock that was set
// before or not. The reason is for Leave.
func Decide(offsets []time.Duration, set bool) (a Action, offset time.Duration, why string) {
	if len(offsets) == 0 {
		return Leave, 0, "no time server answered"
	}
	offset, agree := middle(offsets)
	switch {
	case agree*2 <= len(offsets):
		return Leave, 0, fmt.Sprintf("the time servers do not agree: they say the clock is off by %v", round(offsets))
	case set && offset.Abs() > believeMax:
		return Leave, 0, fmt.Sprintf("the time servers say the clock is off by %s, which can't be after it was set; restart the gateway if they are right now",
			offset.Round(time.Second))
	case !set && offset.Abs() > stepAbove:
		return Step, offset, ""
	}
	return Slew, offset, ""
}

// middle returns the offset in the middle and how many agree with it.
func middle(offsets []time.Duration) (offset time.Duration, agree int) {
	sorted := slices.Sorted(slices.Values(offsets))
	offset = sorted[len(sorted)/2]
	for _, o := range sorted {
		if (o - offset).Abs() <= apartMax {
			agree++
		}
	}
	return offset, agree
}

func round(offsets []time.Duration) []time.Duration {
	r := make([]time.Duration, len(offsets))
	for i, o := range offsets {
		r[i] = o.Round(time.Millisecond)
	}
	return r
}

// Next is how long to wait before asking again, after that many failures in a
// row.
func Next(failures int) time.Duration {
	if failures == 0 {
		return pollSynced
	}
	return min(pollMin<<min(failures-1, 10), pollMax)
}
