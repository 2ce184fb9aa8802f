package ingest

import "time"

// company guesses how many records are about to arrive, so that a commit leaves
// with all of them and not with the first few.
//
// Devices publish again when they are answered. So after a commit those it
// answered are on their way, and those that waited meanwhile are here: that many
// are expected, and for a small part of what a commit takes it pays to wait for
// them. Without it such devices part into two groups that keep the device busy
// in turn, each waiting for the other's flush: twice the latency, twice the
// flushes. A lone device is never kept waiting, nor one that is late.
type company struct {
	expected int           // records
	until    time.Time     // when the wait for them is over
	typical  time.Duration // what a commit takes, on average
}

const (
	companyShare   = 4 // of what a commit takes, the part it may wait
	companyMax     = 5 * time.Millisecond
	companyHistory = 8 // commits that the average remembers
)

// ended notes the end of a commit: how many records it answered or found
// waiting, and how long it took.
func (c *company) ended(records int, took time.Duration, now time.Time) {
	if c.typical == 0 {
		c.typical = took
	}
	c.typical += (took - c.typical) / companyHistory
	c.expected = records
	c.until = now.Add(min(c.typical/companyShare, companyMax))
}

// wait returns how long to wait for more when so many are here.
func (c *company) wait(records int, now time.Time) time.Duration {
	if records >= c.expected {
		return 0
	}
	return max(c.until.Sub(now), 0)
}
