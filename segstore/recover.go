package segstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"cistern/gossip/metadata"
	"cistern/segstore/segment"
	"cistern/segstore/vfs"
)

// replayLast finds the lane's newest segment with a whole commit, and replays
// all its frames; nil when there is none. Newer ones were begun and never
// confirmed: their slots are spare.
func (l *lane) replayLast(segs []found) (*replay, error) {
	l.seq = 1
	for i := len(segs) - 1; i >= 0; i-- {
		r := &replay{lane: l, at: i, found: segs[i], index: segment.Index{}}
		err := l.withSegment(segs[i], func(f vfs.File, h segment.Header) (err error) {
			r.end, err = segment.Scan(f, h, 0, r.commit, func(d *segment.Damage) { l.store.reportDamage(l, d) })
			l.header = h
			return err
		})
		l.store.opened.Scanned++
		switch {
		case err != nil:
			return nil, err
		case r.commits > 0:
			l.seq = r.lastSeq + 1
			l.store.ageBase = max(l.store.ageBase, r.age)
			return r, nil
		case segs[i].sealed:
			return nil, fmt.Errorf("segment %d in %s is sealed, but none of its commits can be read", segs[i].id, slotName(segs[i].slot))
		}
		l.store.recycle(segs[i])
	}
	return nil, nil
}

// liveAt returns the IDs of the segments that were live when the newest segment
// was begun and have not expired since, and reports those that can't be read.
func (s *Store) liveAt(newest *replay, taken map[uint32]found) (map[uint64]bool, error) {
	live := map[uint64]bool{newest.found.id: true}
	for _, seg := range newest.live {
		live[seg.ID] = true
	}
	if err := s.meta.Each(bucketStore, func(key string, v []byte) error {
		if key != keyFreed {
			return nil
		}
		for ; len(v) >= 8; v = v[8:] {
			delete(live, binary.BigEndian.Uint64(v))
		}
		return nil
	}); err != nil {
		return nil, err
	}
	for _, seg := range newest.live {
		if now := taken[seg.Slot]; live[seg.ID] && !seg.Begun && now.id < seg.ID {
			cause := now.damaged
			if cause == nil {
				cause = errors.New("the file is empty or gone")
			}
			s.reportDamage(newest.lane, &segment.Damage{SegmentID: seg.ID, To: s.cfg.SegmentBytes, Cause: cause})
		}
	}
	return live, nil
}

// keyFreed holds the IDs of segments that expired and are in no snapshot's
// absence yet.
const keyFreed = "freed"

// adopt takes in the lane's live segments, and goes on where the last ends.
func (l *lane) adopt(segs []found, last *replay, live map[uint64]bool) error {
	older := segs[:last.at]
	for i, f := range older {
		if !live[f.id] {
			l.store.recycle(f)
			continue
		}
		if err := l.adoptOlder(f, segs[i+1].first); err != nil {
			return err
		}
	}
	// Batches of the last segment come after the older ones in every log.
	l.holds = last.index
	_, l.batches = last.index.Counts()
	l.apply(last.found.id, summarize(l.holds))
	seg := l.info(last.found)
	seg.lastSeq = l.seq - 1
	l.store.addSegment(seg)
	l.active = seg
	if seg.sealed.Load() {
		return nil
	}
	l.pos, l.slot = last.end, seg.slot
	var err error
	if l.file, err = l.store.fs.Open(l.store.pool.path(seg.slot)); err != nil {
		return err
	}
	// What the scan accepted may still be in memory only: kill -9 between a
	// write and its sync leaves it so. It must be on flash before it is served.
	return l.file.Sync()
}

// adoptOlder takes in a segment by its footer; where a power cut lost the
// footer, by a scan that ends where the next segment begins.
func (l *lane) adoptOlder(f found, nextFirst uint64) error {
	seg := l.info(f)
	if !f.sealed {
		x, err := l.rebuildFooter(f, seg, nextFirst)
		if err != nil {
			return err
		}
		f.holds = summarize(x)
	}
	seg.sealed.Store(true)
	l.store.addSegment(seg)
	l.apply(f.id, f.holds)
	return nil
}

// rebuildFooter scans a segment and writes the footer that is missing.
func (l *lane) rebuildFooter(f found, seg *segmentInfo, nextFirst uint64) (segment.Index, error) {
	l.store.opened.Scanned++
	x, t, err := l.store.scanIndex(f.slot, f.size, nextFirst, func(d *segment.Damage) { l.store.reportDamage(l, d) })
	if err != nil {
		return nil, err
	}
	seg.lastSeq, seg.age = t.LastSeq, t.AgeMillis
	file, err := l.store.fs.Open(l.store.pool.path(f.slot))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b := segment.Footer{Trailer: t, Index: x}.AppendTo(nil)
	_, err = file.WriteAt(b, f.size-int64(len(b)))
	return x, err
}

// apply tells every log what a segment holds of it, oldest segment first.
func (l *lane) apply(id uint64, holds []holding) {
	for _, h := range holds {
		g := l.store.refs[h.ref]
		if g == nil {
			l.store.log.Error("a segment holds batches of a partition that nobody knows", "segment", id, "partition", h.ref)
			continue
		}
		if h.truncatedTo >= 0 {
			g.cutExtents(id, h.truncatedTo)
		}
		if h.bytes > 0 {
			g.extend(id, h.base)
			g.bytes += h.bytes
		}
	}
}

func (l *lane) info(f found) *segmentInfo {
	seg := &segmentInfo{id: f.id, slot: f.slot, lane: f.lane, firstSeq: f.first, lastSeq: f.last, age: f.age, size: f.size}
	seg.sealed.Store(f.sealed)
	return seg
}

func (l *lane) withFile(slot uint32, fn func(vfs.File) error) error {
	file, err := l.store.fs.OpenRead(l.store.pool.path(slot))
	if err != nil {
		return err
	}
	defer file.Close()
	return fn(file)
}

func (l *lane) withSegment(f found, fn func(vfs.File, segment.Header) error) error {
	return l.withFile(f.slot, func(file vfs.File) error {
		h, err := readHeader(file, f.size)
		if err != nil {
			return fmt.Errorf("%s: %w", slotName(f.slot), err)
		}
		return fn(file, h)
	})
}

func readHeader(f vfs.File, size int64) (segment.Header, error) {
	page := make([]byte, segment.PageSize)
	if _, err := f.ReadAt(page, 0); err != nil {
		return segment.Header{}, err
	}
	h, err := segment.ParseHeader(page)
	h.SizeBytes = uint32(min(int64(h.SizeBytes), size))
	return h, err
}

// settleLogs brings every log's bounds together after all lanes were read.
func (s *Store) settleLogs() {
	for _, g := range s.logs {
		if b := s.state.Get(startKey(g.id)); len(b) == 8 {
			g.start = max(g.start, int64(binary.BigEndian.Uint64(b)))
		}
		if b := s.state.Get(droppedKey(g.id)); len(b) == 8 {
			g.dropped = int64(binary.BigEndian.Uint64(b))
		}
		first := g.end
		if len(g.extents) > 0 {
			first = min(first, g.extents[0].base)
		}
		g.start = min(max(g.start, first), g.end)
		g.hw, g.next, g.drained = g.end, g.end, g.start
		g.epochs.cut(g.end)
		g.epochs.advance(g.start)
		g.epoch = g.epochs.last() + 1
	}
}

// scanIndex reads a whole segment to learn what it holds.
func (s *Store) scanIndex(slot uint32, size int64, seqEnd uint64, damaged func(*segment.Damage)) (segment.Index, segment.Trailer, error) {
	x := segment.Index{}
	var t segment.Trailer
	f, err := s.fs.OpenRead(s.pool.path(slot))
	if err != nil {
		return nil, t, err
	}
	defer f.Close()
	h, err := readHeader(f, size)
	if err != nil {
		return nil, t, err
	}
	t.SegmentID, t.FirstSeq, t.LastSeq, t.Lane = h.ID, h.FirstSeq, h.FirstSeq, h.Lane
	end, err := segment.Scan(f, h, seqEnd, func(c segment.Commit) error {
		t.LastSeq, t.AgeMillis = c.Seq, c.AgeMillis
		for _, fr := range c.Frames {
			if fr.Type == segment.FrameBatch || fr.Type == segment.FrameTruncate {
				if _, err := indexFrame(x, fr); err != nil {
					return err
				}
			}
		}
		return nil
	}, damaged)
	t.Used = uint32(end)
	return x, t, err
}

// loadIndex reads the footer of a sealed segment, or else the segment.
func (s *Store) loadIndex(seg *segmentInfo) (segment.Index, error) {
	var x segment.Index
	err := s.files.with(seg.slot, func(f vfs.File) error {
		footer, err := readFooter(f, seg.size, true)
		if err == nil && footer.SegmentID != seg.id {
			err = errRecycled
		}
		x = footer.Index
		return err
	})
	if err == nil || s.segment(seg.id) == nil {
		return x, err
	}
	x, t, err := s.scanIndex(seg.slot, seg.size, seg.lastSeq+1, func(*segment.Damage) {})
	if err == nil && t.SegmentID != seg.id {
		err = errRecycled
	}
	return x, err
}

// reportDamage says aloud, and for ever, that flash lost confirmed commits.
func (s *Store) reportDamage(l *lane, d *segment.Damage) {
	s.opened.Damaged++
	s.stats.damaged.Add(1)
	s.log.Error("flash lost confirmed commits", "lane", l.name(), "segment", d.SegmentID, "from", d.From, "to", d.To,
		"firstCommit", d.FirstSeq, "lastCommit", d.LastSeq, "cause", d.Cause)
	key := fmt.Sprintf("%s/%020d/%010d", l.name(), d.SegmentID, d.From)
	if err := s.meta.Put(KV{bucketDamage, key, []byte(d.Error())}); err != nil {
		s.log.Error("damage not noted in the metadata file", "error", err)
	}
}

// Damage returns the places where flash lost confirmed commits, ever.
func (s *Store) Damage() ([]string, error) {
	var out []string
	err := s.meta.Each(bucketDamage, func(_ string, v []byte) error {
		out = append(out, string(v))
		return nil
	})
	return slices.Clip(out), err
}

func startKey(p metadata.PartitionID) string   { return "start/" + p.String() }
func droppedKey(p metadata.PartitionID) string { return "dropped/" + p.String() }
