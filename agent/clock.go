package agent

import (
	"sync/atomic"
	"time"
)

// Words for the clock in status.
const (
	clockUnset    = "unset"    // it shows a time before this program existed
	clockUnsynced = "unsynced" // no time service has confirmed it since the start
	clockSynced   = "synced"
)

// firstYear is the earliest a set clock can show. Boards without a battery boot
// into 1970 or the date of their image.
const firstYear = 2024

// clock knows whether the wall clock can be believed. Reading it is cheap, since
// every record asks.
type clock struct {
	now    func() time.Time
	kernel func() (synced bool)

	state atomic.Value // string
}

func newClock() *clock {
	c := &clock{now: time.Now, kernel: kernelSynced}
	c.check()
	return c
}

// check looks at the clock again. Once confirmed it stays so: the kernel
// withdraws its word after hours without a time server, when the clock is still
// good to a second, and a gateway without an uplink lives like that for weeks.
func (c *clock) check() string {
	was, _ := c.state.Load().(string)
	is := clockUnsynced
	switch {
	case c.now().Year() < firstYear:
		is = clockUnset
	case was == clockSynced || c.kernel():
		is = clockSynced
	}
	c.state.Store(is)
	return is
}

// synced says whether times of records can be believed.
func (c *clock) synced() bool { return c.state.Load() == clockSynced }
