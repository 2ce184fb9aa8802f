package segstore

import (
	"slices"
	"time"
)

// company guesses how many groups are about to arrive at a lane of a site, so that
// a commit leaves with all of them and not with the first.
//
// There a lane has several sources: what devices send here, what other gateways
// send to their leader, and a fetcher for each gateway that is followed. Each has
// one group in play, as a rule, and the next one shortly after the last was done.
// But the lane is busy again by then, with the groups of the others. So they part
// into two halves that wait for each other's flush: four flushes lie between a
// record and its confirmation instead of two and a half. Those that were just done
// are worth a small part of a commit, if they come.
//
// Where the way to the other gateways takes longer than that, or flushes are as
// fast as the network, they don't. A wait that brought nobody is not repeated for
// a while, each time for longer.
//
// A gateway on its own has one source, whose groups package ingest times.
type company struct {
	expected int           // groups
	until    time.Time     // when the wait for them is over
	typical  time.Duration // what a commit takes, on average
	skip     int           // commits without a wait
	vain     int           // skip after the last wait in vain, 0 after a good one
}

const (
	companyShare   = 4 // of what a commit takes, the part it may wait
	companyMax     = 5 * time.Millisecond
	companyHistory = 8  // commits that the average remembers
	companySkipMax = 64 // commits
)

// ended notes the end of a commit: how many groups it answered or found waiting,
// and how long it took. Who waits for a commit to end is waited for at the next.
func (c *company) ended(groups int, took time.Duration, now time.Time) {
	if c.typical == 0 {
		c.typical = took
	}
	c.typical += (took - c.typical) / companyHistory
	c.expected, c.until = groups, now.Add(min(c.typical/companyShare, companyMax))
	if c.skip > 0 {
		c.skip--
		c.expected = 0
	}
}

// wait returns how long to wait for more when so many are here.
func (c *company) wait(groups int, now time.Time) time.Duration {
	if groups >= c.expected {
		return 0
	}
	return max(c.until.Sub(now), 0)
}

// waited notes what a wait has brought.
func (c *company) waited(brought int) {
	if c.vain = min(max(2*c.vain, 1), companySkipMax); brought > 0 {
		c.vain = 0
	}
	c.skip = c.vain
}

// gather waits for the groups that are expected beside those that are here.
func (l *lane) gather(timer *time.Timer) {
	first, stopped := l.queued()
	here, waited := first, false
	for first > 0 && !stopped {
		wait := l.company.wait(here, time.Now())
		if wait == 0 {
			break
		}
		timer.Reset(wait)
		select {
		case <-l.signal:
		case <-timer.C:
		}
		waited = true
		here, stopped = l.queued()
	}
	if waited {
		l.company.waited(here - first)
	}
}

func (l *lane) queued() (groups int, stopped bool) {
	l.queueMu.Lock()
	defer l.queueMu.Unlock()
	return len(l.queue), l.stopped
}

// fromSeveral says that groups may come from several sources.
func fromSeveral(groups []*Group) bool {
	return slices.ContainsFunc(groups, func(g *Group) bool {
		return len(g.Entries) > 0 && g.Entries[0].Log.replicated.Load()
	})
}
