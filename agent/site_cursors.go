package agent

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"cistern/bridge/drain"
	"cistern/gossip/metadata"
)

// When positions are told to the site. What one lags behind is searched upstream
// by whoever drains next. Each telling is one agreement, however many partitions
// it is about: 20 KB of flash on every gateway and a few times its own size, as
// bbolt writes it.
const (
	cursorInterval = 5 * time.Minute
	// cursorQuiet is how long drains have had nothing to do when what is left is told
	// ahead of its time, so that an idle site soon writes nothing any more. The next
	// telling is an interval later for it: there are no more of them.
	cursorQuiet = 10 * time.Second
	// cursorRecords have been drained, of all partitions together: told sooner,
	// but not before cursorPause has passed. Their bytes are far more than those
	// of the agreement.
	cursorRecords = 250_000
	cursorPause   = 10 * time.Second
)

// cursors keeps the drain's small records with the site, so that whoever drains
// a partition next goes on where this gateway stopped. It implements drain.State.
// What must be durable is agreed upon at once, fenced by both epochs of the
// drainer: of two gateways that both believe to drain, one is refused. Positions
// follow lazily. (Retention does not wait for them: a follower that drains says
// how far in each fetch.)
type cursors struct {
	site *site

	mu     sync.Mutex
	drains map[metadata.PartitionID]*draining // that this gateway drains
	told   time.Time                          // when positions were told last
	due    time.Time                          // when they are told at the latest
	ahead  bool                               // they were told before that, when drains were quiet
	put    time.Time                          // when a drain put something last
	behind int64                              // records drained since told
}

// draining is one partition that this gateway drains.
type draining struct {
	duty
	seq    int64  // of the last cursor that was given to us
	latest []byte // put, not told yet
	number int64  // of latest
	at     int64  // log.Drained, when it was last counted
}

func newCursors(s *site) *cursors {
	now := time.Now()
	return &cursors{site: s, drains: map[metadata.PartitionID]*draining{}, told: now, due: now.Add(cursorInterval)}
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
	defer c.mu.Unlock()
	if d := c.drains[p]; d != nil && d.latest != nil {
		return d.latest
	}
	return c.site.quorum.Image().Drains[p].Cursor
}

// Put implements drain.State.
func (c *cursors) Put(key string, value []byte) {
	p, err := partitionOf(key)
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.drains[p]; err == nil && d != nil {
		d.seq++
		d.latest, d.number, c.put = value, d.seq, time.Now()
	}
}

// PutSync implements drain.State. The number keeps a position that is on its way
// from bringing back what was there before value.
func (c *cursors) PutSync(key string, value []byte) error {
	p, err := partitionOf(key)
	if err != nil {
		return err
	}
	c.mu.Lock()
	d := c.drains[p]
	if d == nil {
		c.mu.Unlock()
		return fmt.Errorf("%s: %w", p, metadata.ErrFencedLeaderEpoch)
	}
	d.seq++
	d.latest = nil // older than value
	put := d.put(p, value, d.seq)
	c.mu.Unlock()
	_, err = c.site.propose(context.Background(), metadata.Change{PutDrain: &put})
	return err
}

func (d *draining) put(p metadata.PartitionID, value []byte, seq int64) metadata.PutDrain {
	return metadata.PutDrain{Partition: p, LeaderEpoch: d.leader, Epoch: d.epoch, Cursor: value, Seq: seq}
}

// begin makes a partition this gateway's to drain.
func (c *cursors) begin(p metadata.PartitionID, what duty) {
	seq := c.site.quorum.Image().Drains[p].Seq // of these epochs, if any was told in them
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drains[p] = &draining{duty: what, seq: seq}
}

// end makes it somebody else's.
func (c *cursors) end(p metadata.PartitionID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.drains, p)
}

// now returns what this gateway drains.
func (c *cursors) now() map[metadata.PartitionID]duty {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[metadata.PartitionID]duty, len(c.drains))
	for p, d := range c.drains {
		all[p] = d.duty
	}
	return all
}

// tell brings positions to the site when it is time.
func (c *cursors) tell(ctx context.Context) {
	c.count()
	if c.isTime(time.Now()) {
		c.tellAll(ctx, c.toSite)
	}
}

// isTime says whether to tell positions now, and when it says so it is noted as done.
func (c *cursors) isTime(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !now.Before(c.due), c.behind >= cursorRecords && now.Sub(c.told) >= cursorPause:
		c.due, c.ahead = now.Add(cursorInterval), false
	case !c.ahead && c.isQuiet(now):
		c.due, c.ahead = c.due.Add(cursorInterval), true
	default:
		return false
	}
	c.told, c.behind = now, 0
	return true
}

// isQuiet says whether there is something to tell, and nothing has been added to it
// for a while.
func (c *cursors) isQuiet(now time.Time) bool {
	for _, d := range c.drains {
		if d.latest != nil {
			return now.Sub(c.put) >= cursorQuiet
		}
	}
	return false
}

// tellLast brings what is left to the site at a stop, when drains have ended: what a
// drain had put before it became quiet is not put again. Whoever drains next by a
// protocol that can't be searched would send all of it once more.
func (c *cursors) tellLast(ctx context.Context) { c.tellAll(ctx, c.toSite) }

func (c *cursors) toSite(ctx context.Context, puts []metadata.PutDrain) error {
	_, err := c.site.propose(ctx, metadata.Change{PutDrains: &metadata.PutDrains{Drains: puts}})
	if err != nil {
		c.site.a.log.Debug("positions of drains were not told to the site", "error", err)
	}
	return err
}

func (c *cursors) tellAll(ctx context.Context, to func(context.Context, []metadata.PutDrain) error) {
	for _, puts := range c.untold() {
		if to(ctx, puts) != nil {
			return
		}
		c.forget(puts)
	}
}

// count adds up what was drained since the last look.
func (c *cursors) count() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, d := range c.drains {
		log := c.site.a.store.Log(p)
		if log == nil || d.latest == nil {
			continue
		}
		at := log.Drained()
		if d.at > 0 {
			c.behind += max(0, at-d.at)
		}
		d.at = at
	}
}

// putBytesMax bounds the cursors of one change, well below what a change may
// have; each counts with what goes round it.
const (
	putBytesMax   = 128 << 10
	putBytesExtra = 128
)

// untold returns the positions that the site does not have, in lots.
func (c *cursors) untold() (lots [][]metadata.PutDrain) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := putBytesMax
	for p, d := range c.drains {
		if d.latest == nil {
			continue
		}
		n := len(d.latest) + len(p.Stream) + putBytesExtra
		if size += n; size > putBytesMax || len(lots[len(lots)-1]) == metadata.DrainsMax {
			lots, size = append(lots, nil), n
		}
		last := &lots[len(lots)-1]
		*last = append(*last, d.put(p, d.latest, d.number))
	}
	return lots
}

// forget drops what has been told, unless there is something newer.
func (c *cursors) forget(told []metadata.PutDrain) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range told {
		d := c.drains[told[i].Partition]
		if d != nil && d.number == told[i].Seq && d.leader == told[i].LeaderEpoch && d.epoch == told[i].Epoch {
			d.latest = nil
		}
	}
}

var _ drain.State = (*cursors)(nil)
