package agent

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"cistern/bridge/drain"
	"cistern/gossip/metadata"
)

// cursorInterval is how often a drain's position is told to the site. What it
// lags behind is searched upstream after a change of leader; a shorter time would
// cost flash on every gateway.
const cursorInterval = 5 * time.Minute

// cursors keeps the drain's small records with the site, so that whoever leads
// a partition next goes on where this gateway stopped. It implements drain.State.
// What must be durable is agreed upon at once, fenced by the leader epoch: of
// two gateways that both believe to drain, one is refused. Positions follow
// lazily.
type cursors struct {
	site *site

	mu     sync.Mutex
	epochs map[metadata.PartitionID]int32  // in which this gateway drains
	latest map[metadata.PartitionID][]byte // put, not told yet
}

func newCursors(s *site) *cursors {
	return &cursors{site: s, epochs: map[metadata.PartitionID]int32{}, latest: map[metadata.PartitionID][]byte{}}
}

// partitionOf is the inverse of the drain's key, "drain/stream/partition".
func partitionOf(key string) (metadata.PartitionID, error) {
	stream, number, ok := strings.Cut(strings.TrimPrefix(key, "drain/"), "/")
	n, err := strconv.ParseInt(number, 10, 32)
	if !ok || err != nil {
		return metadata.PartitionID{}, fmt.Errorf("%q is no drain's key", key)
	}
	return metadata.PartitionID{Stream: stream, Partition: int32(n)}, nil
}

// Get implements drain.State.
func (c *cursors) Get(key string) []byte {
	p, err := partitionOf(key)
	if err != nil {
		return nil
	}
	c.mu.Lock()
	latest := c.latest[p]
	c.mu.Unlock()
	if latest != nil {
		return latest
	}
	return c.site.quorum.Image().Drains[p].Cursor
}

// Put implements drain.State.
func (c *cursors) Put(key string, value []byte) {
	if p, err := partitionOf(key); err == nil {
		c.mu.Lock()
		c.latest[p] = value
		c.mu.Unlock()
	}
}

// PutSync implements drain.State.
func (c *cursors) PutSync(key string, value []byte) error {
	p, err := partitionOf(key)
	if err != nil {
		return err
	}
	c.mu.Lock()
	epoch, drains := c.epochs[p]
	delete(c.latest, p) // older than value
	c.mu.Unlock()
	if !drains {
		return fmt.Errorf("%s: %w", p, metadata.ErrFencedLeaderEpoch)
	}
	_, err = c.site.propose(context.Background(), metadata.Change{PutDrain: &metadata.PutDrain{Partition: p, LeaderEpoch: epoch, Cursor: value}})
	return err
}

// run drains what this gateway leads, as that changes, until ctx ends.
func (c *cursors) run(ctx context.Context) error {
	changed, cancel := c.site.quorum.Watch()
	defer cancel()
	look, tell := time.NewTicker(siteInterval), time.NewTicker(cursorInterval)
	defer look.Stop()
	defer tell.Stop()
	for {
		c.follow()
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-look.C:
		case <-tell.C:
			c.tellAll()
		}
	}
}

// follow starts and stops drains as leaderships come and go. Another epoch is
// another drain: somebody else may have drained between the two.
func (c *cursors) follow() {
	d := c.site.a.drain
	leads := c.site.leads()
	c.mu.Lock()
	drains := maps.Clone(c.epochs)
	c.mu.Unlock()
	for p, epoch := range drains {
		if now, ok := leads[p]; ok && now == epoch {
			continue
		}
		d.Remove(p)
		c.mu.Lock()
		delete(c.epochs, p)
		delete(c.latest, p)
		c.mu.Unlock()
	}
	for p, epoch := range leads {
		if was, ok := drains[p]; ok && was == epoch {
			continue
		}
		c.mu.Lock()
		c.epochs[p] = epoch
		c.mu.Unlock()
		if err := d.Add(c.site.a.store.Log(p), drain.Term{}); err != nil {
			c.site.a.log.Error("partition is not drained", "partition", p, "error", err)
		}
	}
}

// leads returns the partitions that this gateway leads, with their epochs.
func (s *site) leads() map[metadata.PartitionID]int32 {
	leads := map[metadata.PartitionID]int32{}
	for name, st := range s.quorum.Image().Streams {
		for n := range st.Partitions {
			p := metadata.PartitionID{Stream: name, Partition: int32(n)}
			if epoch, ok := s.replicas.Leads(p); ok {
				leads[p] = epoch
			}
		}
	}
	return leads
}

// tellAll brings positions to the site.
func (c *cursors) tellAll() {
	c.mu.Lock()
	latest, epochs := maps.Clone(c.latest), maps.Clone(c.epochs)
	clear(c.latest)
	c.mu.Unlock()
	for p, value := range latest {
		change := metadata.Change{PutDrain: &metadata.PutDrain{Partition: p, LeaderEpoch: epochs[p], Cursor: value}}
		if _, err := c.site.propose(context.Background(), change); err != nil {
			c.site.a.log.Debug("a drain's position was not told to the site", "partition", p, "error", err)
			return
		}
	}
}

var _ drain.State = (*cursors)(nil)
