package segstore

import (
	"encoding/binary"
	"errors"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/segment"
	"cistern/segstore/vfs"
)

// retentionInterval is how often Run looks for what has expired; a sealed
// segment and a lack of room wake it sooner.
const retentionInterval = 5 * time.Second

// fullRetry is how long a search for room that found none is believed.
const fullRetry = 200 * time.Millisecond

// takeSlot returns a slot for a new segment of l: a spare or new one, else the
// oldest segment that may give way, the least precious lane's first.
func (s *Store) takeSlot(l *lane) (uint32, error) {
	slot, err := s.pool.take()
	if !errors.Is(err, ErrFull) {
		return slot, err
	}
	s.reclaimMu.Lock()
	defer s.reclaimMu.Unlock()
	if l.full.Load() && s.cfg.Clock.Mono()-s.reclaimLast < fullRetry {
		return 0, err
	}
	s.reclaimLast = s.cfg.Clock.Mono()
	for { // another lane may be quicker to take what was freed here
		if slots, _ := s.pool.ready(); slots == 0 && !s.freeOldest(l.index) {
			return 0, err
		}
		if err := s.pool.thaw(s.noteFreed); err != nil {
			return 0, err
		}
		if slot, err = s.pool.take(); !errors.Is(err, ErrFull) {
			return slot, err
		}
	}
}

// noteFreed makes it durable that segments have expired, before they are written
// over. Run frees ahead of need, so that the next snapshot does that; here it
// costs a transaction.
func (s *Store) noteFreed(segments []uint64) error {
	var ids []byte
	for _, id := range segments {
		ids = binary.BigEndian.AppendUint64(ids, id)
	}
	return s.state.saveAll(KV{bucketStore, keyFreed, ids})
}

// freeOldest frees the oldest segment that may give way to lane: what was
// drained, of whichever lane; else what its stream allows to be dropped, but
// never of a lane more precious.
func (s *Store) freeOldest(lane uint8) bool {
	for i := len(s.lanes) - 1; i >= 0; i-- {
		if s.freeFirst(uint8(i), drainedBelow) {
			return true
		}
	}
	for i := len(s.lanes) - 1; i >= int(lane); i-- {
		if s.freeFirst(uint8(i), mayDrop) {
			return true
		}
	}
	return false
}

// drainedBelow: the centre has it. mayDrop: the stream's policy gives it up.
func drainedBelow(g *Log, _ metadata.StreamConfig, next int64) bool { return g.Drained() >= next }

func mayDrop(g *Log, c metadata.StreamConfig, next int64) bool {
	return c.WhenFull == metadata.DropOldest || drainedBelow(g, c, next)
}

// freeFirst frees the oldest segment of a lane whose every batch may go.
func (s *Store) freeFirst(lane uint8, may func(*Log, metadata.StreamConfig, int64) bool) bool {
	for seg := s.segmentFrom(lane, 0); seg != nil && seg.sealed.Load(); seg = s.segmentFrom(lane, seg.id+1) {
		if s.free(seg, may) {
			return true
		}
	}
	return false
}

// retain frees, from the oldest on, the segments in which everything expired.
func (s *Store) retain() {
	s.reclaimMu.Lock()
	defer s.reclaimMu.Unlock()
	now := s.age()
	for i := range s.lanes {
		for {
			seg := s.segmentFrom(uint8(i), 0)
			if seg == nil || !seg.sealed.Load() || !s.free(seg, s.expired(now-seg.age)) {
				break
			}
		}
	}
}

// freeAhead keeps slots ready where no new ones can be made, so that a roll finds
// one whose expiry is durable already.
func (s *Store) freeAhead() {
	s.reclaimMu.Lock()
	defer s.reclaimMu.Unlock()
	for {
		slots, full := s.pool.ready()
		if !full || slots >= SpareSegments || !s.freeFor() {
			return
		}
	}
}

// freeFor frees a segment for whichever lane is least entitled to one; only
// lanes that are written to are asked.
func (s *Store) freeFor() bool {
	for i := len(s.lanes) - 1; i >= 0; i-- {
		if s.segmentFrom(uint8(i), 0) != nil && s.freeOldest(uint8(i)) {
			return true
		}
	}
	return false
}

// reopenLanes looks for room for lanes that found none: as long as they are
// full nobody appends, so nobody else would look.
func (s *Store) reopenLanes() {
	for _, l := range s.lanes {
		if !l.full.Load() {
			continue
		}
		s.reclaimMu.Lock()
		s.reclaimLast = s.cfg.Clock.Mono() - fullRetry
		s.reclaimMu.Unlock()
		if slot, err := s.takeSlot(l); err == nil {
			s.pool.put(slot)
			l.full.Store(false)
		}
	}
}

// expired says what retention allows to go of a segment of this age, in ms.
func (s *Store) expired(age int64) func(*Log, metadata.StreamConfig, int64) bool {
	return func(g *Log, c metadata.StreamConfig, next int64) bool {
		old := c.RetentionTime > 0 && age > c.RetentionTime.Milliseconds()
		large := c.RetentionBytes > 0 && s.streamBytes(c) > c.RetentionBytes
		return (old || large) && (c.DropUndrained || g.Drained() >= next)
	}
}

func (s *Store) streamBytes(c metadata.StreamConfig) (sum int64) {
	for p := range c.Partitions {
		if g := s.Log(metadata.PartitionID{Stream: c.Name, Partition: p}); g != nil {
			sum += g.Bytes()
		}
	}
	return sum
}

// free recycles a sealed segment if all of it is below its logs' starts, was cut
// off, or may go: which nothing may that is not below the high watermark. What
// goes undrained is counted and said.
func (s *Store) free(seg *segmentInfo, may func(*Log, metadata.StreamConfig, int64) bool) bool {
	x, err := s.summary(seg)
	if err != nil {
		s.log.Error("segment can't be freed: its footer can't be read", "segment", seg.id, "error", err)
		return false
	}
	for ref, e := range x {
		g := s.logByRef(ref)
		if g == nil {
			return false // nobody knows whose batches these are: opening has said so
		}
		c, _ := s.Stream(g.id.Stream)
		next := g.alive(seg.id, e.Base, e.Next)
		if next > max(e.Base, g.StartOffset()) && (next > g.HighWatermark() || !may(g, c, next)) {
			return false
		}
	}
	for ref, e := range x {
		if e.Bytes > 0 {
			s.giveUp(s.logByRef(ref), seg.id, e)
		}
	}
	s.removeSegment(seg)
	s.index.drop(seg.id)
	s.files.forget(seg.slot)
	if seg.size != s.cfg.SegmentBytes {
		// Made when segments had another size: not used again.
		s.pool.discard(seg.slot, seg.size)
		return true
	}
	s.pool.cool(seg.slot, seg.id)
	return true
}

// giveUp moves a log's start behind what a freed segment held of it.
func (s *Store) giveUp(g *Log, id uint64, e *segment.PartitionIndex) {
	start := g.alive(id, e.Base, e.Next)
	if start == e.Base {
		start = 0 // all was cut off: nothing but room is won
	}
	if lost := g.advanceStart(start, e.Bytes); lost > 0 {
		s.log.Warn("records dropped before they were drained, as their stream is configured",
			"partition", g.id, "records", lost, "logStart", g.StartOffset(), "droppedEver", g.Dropped())
	}
}

// summary returns what a sealed segment holds, without batch references.
func (s *Store) summary(seg *segmentInfo) (segment.Index, error) {
	if x, ok := s.index.peek(seg.id); ok {
		return x, nil
	}
	var x segment.Index
	err := s.files.with(seg.slot, func(f vfs.File) error {
		footer, err := readFooter(f, seg.size, false)
		x = footer.Index
		return err
	})
	if err != nil {
		return s.index.get(seg)
	}
	return x, nil
}
