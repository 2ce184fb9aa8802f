package segstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"cistern/segstore/batch"
	"cistern/segstore/segment"
)

// What the open commit has of a log. A commit holds either batches of a log,
// all of one leader epoch, or one cut of it, so that what the metadata file says
// of a log's epochs before a commit is true whether or not the commit survives.
const (
	openNot     = iota
	openBatches // not shared
	openShared  // batches that followers may have before they are written
	openCut
)

// place puts an entry into the open commit, flushing and rolling as needed.
func (l *lane) place(e *Entry) error {
	if e.cuts() {
		return l.placeCut(e)
	}
	g := e.Log
	h, err := batch.ParseHeader(e.Batch)
	if err != nil || h.Size() != len(e.Batch) {
		return fmt.Errorf("%s: not one whole batch: %w", g.id, errors.Join(err, batch.ErrMalformed))
	}
	need := segment.FrameHeaderLen + len(e.Batch)
	l.separate(e, h.LeaderEpoch, need)
	if e.Verbatim {
		if err := g.fits(h); err != nil {
			return err
		}
	}
	if err := l.reserve(need); err != nil {
		return err
	}
	epoch, err := l.admit(e, h)
	if err != nil {
		return err
	}
	if g.open != openNot && epoch > g.lastEpoch { // separate kept room for this
		l.flush()
		if err := l.reserve(need); err != nil {
			return err
		}
	}
	l.append(e, h, epoch)
	return nil
}

// separate flushes the open commit if e can't be in one with what it holds of
// the log.
func (l *lane) separate(e *Entry, epoch int32, need int) {
	g := e.Log
	switch {
	case g.open == openNot:
	case g.open == openCut, e.cuts(), e.Verbatim && epoch > g.lastEpoch:
		l.flush()
	case e.Admit != nil && !l.fits(need+segment.PageSize):
		// Should Admit begin an epoch, this must still fit in a commit of its own.
		l.flush()
	}
}

// fits says why a batch can't follow what the log holds.
func (g *Log) fits(h batch.Header) error {
	switch {
	case h.BaseOffset != g.next:
		return fmt.Errorf("%s: batch begins at %d, the log ends at %d: %w", g.id, h.BaseOffset, g.next, ErrWrongOffset)
	case h.LeaderEpoch < g.lastEpoch:
		return fmt.Errorf("%s: batch at %d is of leader epoch %d, the log has reached %d: %w", g.id, g.next, h.LeaderEpoch, g.lastEpoch, ErrWrongEpoch)
	}
	return nil
}

// admit returns the leader epoch that a batch gets, or why it gets none.
func (l *lane) admit(e *Entry, h batch.Header) (epoch int32, err error) {
	g := e.Log
	epoch = h.LeaderEpoch
	switch {
	case e.Admit != nil:
		if epoch, err = e.Admit(&h, g.next); err != nil {
			return 0, err
		}
	case !e.Verbatim:
		epoch = g.Epoch()
	}
	switch {
	case e.Verbatim && epoch != h.LeaderEpoch:
		return 0, fmt.Errorf("%s: batch at %d is of leader epoch %d, admitted was %d: %w", g.id, g.next, h.LeaderEpoch, epoch, ErrWrongEpoch)
	case epoch < g.lastEpoch:
		return 0, fmt.Errorf("%s: leader epoch %d, the log has reached %d: %w", g.id, epoch, g.lastEpoch, ErrWrongEpoch)
	case !e.Verbatim && epoch <= g.spent:
		return 0, fmt.Errorf("%s: leader epoch %d: %w", g.id, epoch, ErrEpochSpent)
	}
	return epoch, nil
}

// append puts a batch into the open commit, where there is room.
func (l *lane) append(e *Entry, h batch.Header, epoch int32) {
	g := e.Log
	pos, payload := l.enc.End(append(l.enc.Begin(segment.FrameBatch, g.ref), e.Batch...))
	if !e.Verbatim {
		batch.Stamp(payload, g.next, epoch)
	}
	e.BaseOffset = g.next
	g.next += int64(h.LastOffsetDelta) + 1
	g.lastEpoch = epoch
	if g.open == openNot {
		g.open = openBatches
		if g.replicated.Load() {
			g.open = openShared
			l.shared = append(l.shared, g)
		}
	}
	l.placed = append(l.placed, placed{entry: e, next: g.next, epoch: epoch, pos: pos, frameSize: segment.FrameHeaderLen + len(e.Batch)})
}

// placeCut puts a truncation or a restart into the open commit.
func (l *lane) placeCut(e *Entry) error {
	g := e.Log
	l.separate(e, 0, 0)
	at, kind := e.Offset, segment.FrameTruncate
	var gone []KV
	var err error
	switch {
	case e.Restart && at < 0, e.Truncate && (e.Restart || at < g.StartOffset() || at > g.next):
		return fmt.Errorf("%s: cut to %d: %w", g.id, at, ErrOffsetOutOfRange)
	case e.Restart:
		kind = segment.FrameRestart
		gone, err = l.store.epochLines(g.id)
	default:
		at, err = g.batchAt(at)
	}
	if err != nil {
		return fmt.Errorf("%s: cut to %d: %w", g.id, e.Offset, err)
	}
	if err := l.reserve(segment.FrameHeaderLen + 16); err != nil {
		return err
	}
	if e.Admit != nil {
		if _, err := e.Admit(nil, at); err != nil {
			return err
		}
	}
	buf := binary.BigEndian.AppendUint64(l.enc.Begin(kind, g.ref), uint64(at))
	if e.Restart {
		buf = binary.BigEndian.AppendUint64(buf, g.restarts+1)
	}
	pos, _ := l.enc.End(buf)
	g.next, g.open = at, openCut
	l.placed = append(l.placed, placed{entry: e, next: at, pos: pos, gone: gone})
	return nil
}

// reserve makes room for need more bytes in the open commit.
func (l *lane) reserve(need int) error {
	if l.latched != nil {
		return l.latched
	}
	if l.file != nil && l.fits(need) {
		return nil
	}
	if len(l.placed) > 0 {
		l.flush()
		if l.latched != nil {
			return l.latched
		}
		if l.fits(need) {
			return nil
		}
	}
	if fresh := l.file != nil && l.pos == 0; !fresh {
		if err := l.roll(); err != nil {
			return err
		}
	}
	if !l.fits(need) {
		return ErrTooLarge
	}
	return nil
}

// fits begins the next commit if none is open, and says whether need more bytes
// find room before the footer that the segment would then have.
func (l *lane) fits(need int) bool {
	if !l.begun {
		l.enc.Reset(l.header, l.pos)
		l.begun = true
	}
	partitions, batches := len(l.placed)+1, len(l.placed)+1
	if l.pos > 0 {
		partitions, batches = partitions+len(l.holds), batches+l.batches
	}
	footer := segment.FooterMax(partitions, batches)
	return l.pos+segment.PageAlign(int64(l.enc.Len()+need))+footer <= int64(l.header.SizeBytes)
}
