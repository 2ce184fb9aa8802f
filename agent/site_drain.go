package agent

import (
	"bytes"
	"context"
	"sync"
	"time"

	"cistern/agent/config"
	"cistern/bridge/drain"
	"cistern/gossip/metadata"
	"cistern/segstore/replica"
)

// duty is a partition's drain as it falls to this gateway. Another epoch is
// another drain: somebody else may have drained between the two.
type duty struct {
	leader, epoch int32 // leader epoch and drain epoch
	unclean       int32 // elections that gave up records, so far
}

// run drains what falls to this gateway, as that changes, until ctx ends.
func (c *cursors) run(ctx context.Context) error {
	changed, cancel := c.site.quorum.Watch()
	defer cancel()
	look := time.NewTicker(siteInterval)
	defer look.Stop()
	for {
		c.follow(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-look.C:
			c.tell(ctx)
		}
	}
}

// changesMax bounds the drains that begin and end at the same time: each end may
// wait for the last answers of an uplink that is gone.
const changesMax = 64

// follow begins and ends drains as they come to fall to this gateway and to
// others.
func (c *cursors) follow(ctx context.Context) {
	was, is := c.now(), c.site.duties()
	var wg sync.WaitGroup
	slots := make(chan struct{}, changesMax)
	change := func(p metadata.PartitionID) {
		slots <- struct{}{}
		wg.Go(func() {
			c.change(ctx, p, was, is)
			<-slots
		})
	}
	for p, d := range was {
		if is[p] != d {
			change(p)
		}
	}
	for p := range is {
		if _, ok := was[p]; !ok {
			change(p)
		}
	}
	wg.Wait()
}

// change ends one drain, begins another, or both. What a drain says at its end
// is of its own epochs: the site refuses it when others have begun.
func (c *cursors) change(ctx context.Context, p metadata.PartitionID, was, is map[metadata.PartitionID]duty) {
	if _, ok := was[p]; ok {
		c.site.a.drain.Remove(p)
		c.end(p)
	}
	d, ok := is[p]
	log := c.site.a.store.Log(p)
	if !ok || log == nil || ctx.Err() != nil {
		return
	}
	c.begin(p, d)
	if err := c.site.a.drain.Add(log, drain.Term{Unclean: d.unclean}); err != nil {
		c.site.a.log.Error("partition is not drained", "partition", p, "error", err)
		return
	}
	// A log that was opened again does not know how far it was drained. After an
	// election that gave up records the cursor may speak of those.
	if at, ok := c.site.a.drain.Cursor(p); ok && d.unclean == 0 {
		log.SetDrained(at)
	}
}

// duties are the partitions that this gateway has to drain: as their leader, or
// because the site has assigned them to it. It does so only in the epoch in which
// its own copy is led or follows: what lies below its high watermark then is what
// was confirmed. A copy that can't be relied on is not drained.
func (s *site) duties() map[metadata.PartitionID]duty {
	image, duties := s.quorum.Image(), map[metadata.PartitionID]duty{}
	self, _ := s.replicas.Self()
	fresh := s.isFresh()
	for name, st := range image.Streams {
		for n := range st.Partitions {
			p := metadata.PartitionID{Stream: name, Partition: int32(n)}
			by, leader, epoch := image.Drainer(p)
			if by != self || by == metadata.NoNode || !fresh && image.Partition(p).Leader != self {
				continue
			}
			if at, role := s.replicas.Keeps(p); at == leader && role != replica.RoleIdle {
				duties[p] = duty{leader, epoch, st.Partitions[n].Unclean}
			}
		}
	}
	return duties
}

// isFresh says whether an assignment to drain can be believed to hold still. With
// records in order it does not matter: whoever sends them, they are taken once.
// Under live_first a successor that splits the flow sends what is new under
// another producer id, so a follower that hears nothing of the quorum stops. It
// does so long before anybody takes over: that takes a dead gateway, or 10 s
// without an uplink. A leader needs no word: without followers nothing of its is
// confirmed.
func (s *site) isFresh() bool {
	if s.a.config.Uplink.Order != config.OrderLiveFirst {
		return true
	}
	leader, self := s.quorum.Leader()
	return self || leader != ""
}

// learnDrained tells the logs how far the site knows them to be drained: what
// was opened again does not know, and the drain may be at another gateway. A
// cursor that is older than an election which gave up records may speak of those.
func (s *site) learnDrained(before, image *metadata.Image) {
	for p, x := range image.Drains {
		log, state := s.a.store.Log(p), image.Partition(p)
		if log == nil || state == nil || state.Unclean > 0 || len(x.Cursor) == 0 || bytes.Equal(before.Drains[p].Cursor, x.Cursor) {
			continue
		}
		if at, err := drain.DrainedOffset(x.Cursor); err == nil {
			log.SetDrained(at) // never beyond its end
		}
	}
}
