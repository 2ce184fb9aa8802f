package segstore

import (
	"errors"
	"fmt"

	"cistern/gossip/metadata"
	"cistern/segstore/segment"
	"cistern/segstore/vfs"
)

func (l *lane) name() string { return metadata.Lanes[l.index] }

// roll seals the active segment and begins the next one. The header page and a
// snapshot become the beginning of the open commit, so a roll costs no flush
// of its own. The footer is not synced: a power cut may lose it, and opening
// then scans that segment once more.
func (l *lane) roll() error {
	slot, err := l.store.takeSlot(l)
	if err != nil {
		l.full.Store(errors.Is(err, ErrFull))
		return err
	}
	l.full.Store(false)
	file, size, err := l.openSlot(slot)
	if err != nil {
		l.store.pool.put(slot)
		return err
	}
	l.seal()
	l.file, l.slot = file, slot
	l.header = segment.Header{Store: l.store.id, ID: l.store.newSegmentID(slot), FirstSeq: l.seq, SizeBytes: uint32(size), Lane: l.index}
	l.pos = 0
	l.enc.Reset(l.header, 0)
	l.snapMark = l.store.pool.mark()
	buf, err := appendSnapshot(l.enc.Begin(segment.FrameSnapshot, 0), l.snapshot())
	if err != nil {
		return err
	}
	l.enc.End(buf)
	l.begun = true
	return nil
}

func (l *lane) openSlot(slot uint32) (vfs.File, int64, error) {
	file, err := l.store.fs.Open(l.store.pool.path(slot))
	if err != nil {
		return nil, 0, fmt.Errorf("open segment %s: %w", slotName(slot), err)
	}
	size, err := file.Size()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, size, nil
}

// seal writes the footer of the active segment and lets go of it.
func (l *lane) seal() {
	if l.file == nil {
		return
	}
	defer func() {
		l.file.Close()
		l.file = nil
	}()
	if l.pos == 0 {
		// Its first commit never made it: the slot is set aside until the
		// store is opened again, since writing there failed.
		l.store.mu.Lock()
		delete(l.store.births, l.header.ID)
		l.store.mu.Unlock()
		return
	}
	l.activeMu.Lock()
	seg, holds := l.active, l.holds
	l.activeMu.Unlock()
	l.store.index.put(seg.id, holds)
	f := segment.Footer{Trailer: segment.Trailer{SegmentID: seg.id, FirstSeq: seg.firstSeq, LastSeq: seg.lastSeq,
		AgeMillis: seg.age, Used: uint32(l.pos), Lane: l.index}, Index: holds}
	b := f.AppendTo(nil)
	if _, err := l.file.WriteAt(b, int64(l.header.SizeBytes)-int64(len(b))); err != nil {
		l.store.log.Warn("footer not written; the segment will be scanned when needed", "lane", l.name(), "segment", seg.id, "error", err)
	}
	l.store.stats.bytesWritten.Add(int64(len(b)))
	seg.sealed.Store(true)
	l.store.wake()
}

// snapshot gathers all small facts of the lane.
func (l *lane) snapshot() snapshot {
	s := l.store
	snap := snapshot{State: s.state.all()}
	for _, g := range s.Logs() {
		if g.lane == l {
			g.mu.Lock()
			snap.Partitions = append(snap.Partitions, snapPartition{Ref: g.ref, Stream: g.id.Stream, Partition: g.id.Partition,
				Start: g.start, End: g.end, Restarts: g.restarts})
			g.mu.Unlock()
		}
	}
	snap.Live = s.live()
	return snap
}

// heal ends a latch: it reads the active segment back from the device, past
// all caches, and if every confirmed commit is there the lane goes on in a new
// segment. What was written and never confirmed is cut off there, by the new
// segment's first sequence number.
func (l *lane) heal() {
	l.work.Lock()
	defer l.work.Unlock()
	if l.latched == nil {
		return
	}
	if err := l.readBack(); err != nil {
		l.store.log.Error("journal stays latched: its end can't be read back", "lane", l.name(), "error", err)
		return
	}
	l.latched, l.begun = nil, false
	l.isLatched.Store(false)
	if err := l.roll(); err != nil {
		l.latched = fmt.Errorf("%w: no new segment: %w", ErrLatched, err)
		l.isLatched.Store(true)
		return
	}
	l.store.log.Warn("journal healed: every confirmed commit was read back, writing goes on in a new segment",
		"lane", l.name(), "segment", l.header.ID)
}

// readBack verifies that the device holds every confirmed commit of the active
// segment.
func (l *lane) readBack() error {
	if l.file == nil || l.pos == 0 {
		return nil // nothing was confirmed in this segment
	}
	f, err := l.store.fs.OpenRead(l.store.pool.path(l.active.slot))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.DropCache(); err != nil {
		return err
	}
	next := l.header.FirstSeq
	_, err = segment.Scan(f, l.header, l.seq, func(c segment.Commit) error {
		next = c.Seq + 1
		return nil
	}, func(d *segment.Damage) { l.store.reportDamage(l, d) })
	if err != nil {
		return err
	}
	if next != l.seq {
		l.store.reportDamage(l, &segment.Damage{SegmentID: l.header.ID, From: 0, To: l.pos, FirstSeq: next, LastSeq: l.seq - 1,
			Cause: errors.New("confirmed commits are not on the device")})
	}
	return nil
}
