package agent

import (
	"crypto/rand"
	"encoding/hex"
	"sync/atomic"
	"time"

	"cistern/segstore/batch"
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

// clock knows whether the wall clock can be believed, and how long ago the
// machine was started, which can always be believed. Reading it is cheap, since
// every record asks.
type clock struct {
	now    func() time.Time
	kernel func() (synced bool)
	uptime func() time.Duration // since the boot of that name
	boot   string

	state  atomic.Value // string
	at     atomic.Pointer[instant]
	marked atomic.Bool // a record was marked since the start
}

// instant is one moment, on the wall and since boot.
type instant struct {
	wall time.Time // with Go's monotonic reading
	up   time.Duration
}

func newClock() *clock {
	c := &clock{now: time.Now, kernel: kernelSynced}
	c.boot, c.uptime = machineBoot()
	c.check()
	return c
}

// check looks at the clock again. Once confirmed it stays so: the kernel
// withdraws its word after hours without a time server, when the clock is still
// good to a second, and a gateway without an uplink lives like that for weeks.
func (c *clock) check() string {
	was, _ := c.state.Load().(string)
	is := clockUnsynced
	at := &instant{wall: c.now(), up: c.uptime()}
	switch {
	case at.wall.Year() < firstYear:
		is = clockUnset
	case was == clockSynced || c.kernel():
		is = clockSynced
	}
	c.at.Store(at)
	c.state.Store(is)
	return is
}

// synced says whether times of records can be believed.
func (c *clock) synced() bool { return c.state.Load() == clockSynced }

// mark appends what a record taken now says about its time, while that can't be
// believed; else nothing. No system call: the time since boot is counted on from
// the last check.
func (c *clock) mark(dst []byte, now time.Time) []byte {
	if c.synced() {
		return dst
	}
	if !c.marked.Load() {
		c.marked.Store(true)
	}
	at := c.at.Load()
	up := max(at.up+now.Sub(at.wall), 0)
	return batch.AppendClockMark(dst, c.boot, up.Milliseconds())
}

// bootAt is when the machine was started, as the wall clock has it now, in ms
// since 1970.
func (c *clock) bootAt() int64 {
	at := c.at.Load()
	return at.wall.UnixMilli() - at.up.Milliseconds()
}

// processBoot stands in where a machine does not name its boots: one for each
// process, whose start is known to it alone.
func processBoot() (name string, uptime func() time.Duration) {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	started := time.Now()
	return hex.EncodeToString(id[:]), func() time.Duration { return time.Since(started) }
}
