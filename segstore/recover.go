package segstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
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
		r, err := l.replay(segs, i)
		switch {
		case err != nil:
			return nil, err
		case r.commits == 0 && !segs[i].sealed:
			l.store.recycle(segs[i])
			continue
		case r.snapshot == nil:
			if r, err = l.replayFrom(segs, i); err != nil {
				return nil, err
			}
		}
		l.seq = max(r.lastSeq, r.found.last) + 1
		l.store.ageBase = max(l.store.ageBase, r.age, r.found.age)
		return r, nil
	}
	return nil, nil
}

// replayFrom replays up to segment last although flash lost the snapshot it
// begins with: from the newest segment before it that has one.
func (l *lane) replayFrom(segs []found, last int) (*replay, error) {
	for i := last - 1; i >= 0; i-- {
		r, err := l.replay(segs, i)
		if err != nil {
			return nil, err
		}
		if r.snapshot == nil {
			continue
		}
		snapshot, id := r.snapshot, r.snapshotID
		for i++; i <= last; i++ {
			if r, err = l.replay(segs, i); err != nil {
				return nil, err
			}
		}
		r.snapshot, r.snapshotID = snapshot, id
		return r, nil
	}
	return nil, fmt.Errorf("no segment begins with a snapshot that can be read; the newest is segment %d in %s: keep the folder, and start with another one",
		segs[last].id, slotName(segs[last].slot))
}

// replay applies the frames of one segment; of a sealed one also what its
// footer says of where logs end, should flash have lost its last commits.
func (l *lane) replay(segs []found, i int) (*replay, error) {
	l.store.opened.Scanned++
	r := &replay{lane: l, at: i, found: segs[i], index: segment.Index{}}
	err := l.withSegment(segs[i], func(f vfs.File, h segment.Header) (err error) {
		seqEnd := uint64(0)
		if segs[i].sealed {
			seqEnd = segs[i].last + 1
		}
		r.end, err = segment.Scan(f, h, seqEnd, r.commit, func(d *segment.Damage) { l.store.reportDamage(l, d) })
		l.header = h
		return err
	})
	if segs[i].sealed && r.lastSeq != segs[i].last {
		l.store.reportDamage(l, &segment.Damage{SegmentID: segs[i].id, From: r.end, To: segs[i].size,
			FirstSeq: max(r.lastSeq+1, segs[i].first), LastSeq: segs[i].last, Cause: errors.New("commits that its footer counts can't be read")})
	}
	for _, h := range segs[i].holds {
		if g := l.store.refs[h.ref]; g != nil && h.bytes > 0 {
			g.end = h.next
		}
	}
	return r, err
}

// expiredBefore says which segments had expired when the newest snapshot was taken, or
// have since; live ones that can't be read are reported. A segment begun after
// the snapshot is live, whatever it says.
func (s *Store) expiredBefore(newest *replay, taken map[uint32]found) (func(id uint64) bool, error) {
	live := map[uint64]bool{newest.snapshotID: true}
	for _, seg := range newest.snapshot.Live {
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
	for _, seg := range newest.snapshot.Live {
		if now := taken[seg.Slot]; live[seg.ID] && !seg.Begun && now.id < seg.ID {
			cause := now.damaged
			if cause == nil {
				cause = errors.New("the file is empty or gone")
			}
			s.reportDamage(newest.lane, &segment.Damage{SegmentID: seg.ID, To: s.cfg.SegmentBytes, Cause: cause})
		}
	}
	return func(id uint64) bool { return id <= newest.snapshotID && !live[id] }, nil
}

// keyFreed holds the IDs of segments that expired and are in no snapshot's
// absence yet.
const keyFreed = "freed"

// adopt takes in the lane's live segments, and goes on where the last ends.
func (l *lane) adopt(segs []found, last *replay, expired func(uint64) bool) error {
	older := segs[:last.at]
	for i, f := range older {
		if expired(f.id) {
			l.store.recycle(f)
			continue
		}
		if err := l.adoptOlder(f, segs[i+1].first); err != nil {
			return err
		}
	}
	// Batches of the last segment come after the older ones in every log.
	seg := l.info(last.found)
	l.store.addSegment(seg)
	if last.found.sealed {
		l.apply(seg.id, last.found.holds)
		return nil
	}
	l.apply(seg.id, summarize(last.index))
	seg.lastSeq = l.seq - 1
	l.active, l.holds = seg, last.index
	_, l.batches = last.index.Counts()
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
		h, err := l.store.header(file, f.size)
		if err != nil {
			return fmt.Errorf("%s: %w", slotName(f.slot), err)
		}
		return fn(file, h)
	})
}

// header reads the header of a segment. Where flash lost that page, the first
// commit tells the same: its own header has the numbers, and its snapshot names
// partitions, which know their lane.
func (s *Store) header(f vfs.File, size int64) (segment.Header, error) {
	h, err := readHeader(f, size)
	if !errors.Is(err, segment.ErrChecksum) && !errors.Is(err, segment.ErrNotWritten) {
		return h, err
	}
	first := make([]byte, segment.CommitHeaderLen)
	if _, err := f.ReadAt(first, segment.PageSize); err != nil {
		return h, err
	}
	id, seq := segment.PeekCommit(first)
	guess := segment.Header{Store: s.id, ID: id, FirstSeq: seq, SizeBytes: uint32(size)}
	found := false
	_, scanErr := segment.Scan(f, guess, seq+1, func(c segment.Commit) error {
		for _, fr := range c.Frames {
			if fr.Type != segment.FrameSnapshot {
				continue
			}
			snap, err := parseSnapshot(fr.Payload)
			if err != nil || len(snap.Partitions) == 0 {
				return err
			}
			if g := s.logByRef(snap.Partitions[0].Ref); g != nil {
				guess.Lane, found = g.lane.index, true
			}
		}
		return nil
	}, func(*segment.Damage) {})
	if scanErr != nil || !found {
		return h, err
	}
	return guess, nil
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
func (s *Store) settleLogs() error {
	holed, err := s.holed()
	for _, g := range s.logs {
		if noted, ok := parseLogStart(s.state.Get(startKey(g.id))); ok && noted.restarts >= g.restarts {
			g.start = max(g.start, noted.offset)
		}
		if b := s.state.Get(droppedKey(g.id)); len(b) >= 8 {
			g.dropped = int64(binary.BigEndian.Uint64(b))
			if len(b) >= 16 {
				g.truncated = int64(binary.BigEndian.Uint64(b[8:]))
			}
		}
		if first, lost := g.firstHeld(holed); !lost {
			g.start = max(g.start, first)
		}
		g.start = min(g.start, g.end)
		g.hw, g.next, g.drained = g.end, g.end, g.start
		g.epochs.cut(g.end)
		g.epochs.advance(g.start)
		g.lastEpoch = g.epochs.last()
		g.epoch = g.lastEpoch + 1
	}
	return err
}

// firstHeld returns where the segments begin to hold the log. Below that records
// have expired, and the note of it was lost; or flash lost them, which is not the
// same: lost says that it lost a part of some segment as old as that.
func (g *Log) firstHeld(holed map[uint64]bool) (first int64, lost bool) {
	first, segment := g.end, uint64(math.MaxUint64)
	if len(g.extents) > 0 {
		first, segment = g.extents[0].base, g.extents[0].segment
	}
	for id := range holed {
		lost = lost || id <= segment
	}
	return first, lost
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
	h, err := s.header(f, size)
	if err != nil {
		return nil, t, err
	}
	t.SegmentID, t.FirstSeq, t.LastSeq, t.Lane = h.ID, h.FirstSeq, h.FirstSeq, h.Lane
	end, err := segment.Scan(f, h, seqEnd, func(c segment.Commit) error {
		t.LastSeq, t.AgeMillis = c.Seq, c.AgeMillis
		for _, fr := range c.Frames {
			switch fr.Type {
			case segment.FrameBatch, segment.FrameTruncate, segment.FrameRestart:
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

// reportDamage says aloud, and for ever, that flash lost confirmed commits. Which
// partitions had records in them nobody knows: all of the lane may.
func (s *Store) reportDamage(l *lane, d *segment.Damage) {
	s.stats.damaged.Add(1)
	s.log.Error("flash lost confirmed commits", "lane", l.name(), "segment", d.SegmentID, "from", d.From, "to", d.To,
		"firstCommit", d.FirstSeq, "lastCommit", d.LastSeq, "cause", d.Cause)
	key := fmt.Sprintf("%s/%020d/%010d", l.name(), d.SegmentID, d.From)
	known := false
	err := s.meta.Each(bucketDamage, func(k string, _ []byte) error {
		known = known || k == key
		return nil
	})
	if known {
		return // a segment that is scanned at every start: it was dealt with
	}
	l.damaged.Store(true)
	if err := errors.Join(err, s.meta.Put(KV{bucketDamage, key, []byte(d.Error())}, KV{bucketStore, keyDamaged + l.name(), []byte{1}})); err != nil {
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
