package replica

import (
	"errors"
	"time"

	"cistern/segstore"
)

// refuseRead answers a follower where the records that it asks for can't be read. They
// are asked for elsewhere, and the follower asks again. What no copy has must not hold
// it up for ever: it is told what a leader says whose log begins behind that, and
// begins anew there.
func (l *local) refuseRead(fp *FetchPartition, said *FetchedPartition, err error) {
	said.Err = readRefusal(err)
	c := (*segstore.CorruptError)(nil)
	if !errors.As(err, &c) || l.m.Mend(l.id, c.FirstOffset, c.LastOffset) != Nowhere {
		return
	}
	if next := c.LastOffset + 1; l.mayPass(fp, said, next) {
		said.Err, said.LogStart = ErrOffsetOutOfRange, next
	} else if next > fp.Offset {
		l.sayStarved(c)
	}
}

// mayPass says whether a follower may begin anew at next. It gives up what it holds
// below, so it has to hold nothing, or nothing that is still needed upstream: else a
// dead leader would take the last copy along. And it begins with next as its high
// watermark, so all below must be confirmed.
func (l *local) mayPass(fp *FetchPartition, said *FetchedPartition, next int64) bool {
	empty := fp.LastEpoch < 0
	return next > fp.Offset && next <= said.HighWatermark && (empty || next <= l.log.Drained())
}

// Starved is a range of offsets that no copy has, and in front of which a follower waits.
type Starved struct{ First, Last int64 }

// starvedKept is how long after it asked a follower counts as waiting; it asks again
// within fetchRetryMax.
const starvedKept = 10 * time.Second

// starving is what a follower waits in front of now, nil when none does; l.mu is held.
func (l *local) starving() *Starved {
	if l.starves == 0 || l.m.now()-l.starves > starvedKept {
		return nil
	}
	s := l.starved
	return &s
}

// sayStarved notes that a follower waits, and tells once of each place.
func (l *local) sayStarved(c *segstore.CorruptError) {
	now := Starved{c.FirstOffset, c.LastOffset}
	l.mu.Lock()
	news := l.starves == 0 || l.starved.First != now.First
	l.starved, l.starves = now, l.m.now()
	l.mu.Unlock()
	if news {
		l.m.log.Error("a follower can't be given records that flash lost here and no other copy has; it stays out of sync, and goes on behind them once all up to there is confirmed and drained: see that an uplink works and enough gateways are in sync",
			"partition", l.id, "first", c.FirstOffset, "last", c.LastOffset, "drained", l.log.Drained())
	}
}
