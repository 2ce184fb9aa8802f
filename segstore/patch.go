package segstore

import (
	"bytes"
	"errors"
	"fmt"

	"cistern/segstore/batch"
)

// Limits of what patches may hold. A card that lost more is at its end.
const (
	patchBytesMax  = 64 << 20  // of a store
	patchesMax     = 8192      // files of a store: each has its header read when it is opened
	neighboursMax  = 64        // lost batches that are gone past, to find what can be read beside them
	patchFileBytes = 256 << 10 // a larger one only if it holds a single batch: every read of a patch verifies all of it

	patchSizeMax = SegmentBytesMax // more than any patch has: what is larger is none
)

// Patch gives back whole batches that flash lost, as another copy has them. They
// must follow each other. That they are this log's own is verified: offset and leader
// epoch name one batch for ever.
// Batches that can be read here, or have expired, are left out, so raw may hold
// more than was lost, up to the log's end. The records that were kept are durable
// when it returns, and all of raw can be read then.
//
// Errors: ErrForeignBatch when a batch is not this log's, ErrPatchesFull;
// ErrOffsetOutOfRange when the log was cut back meanwhile. Nothing was kept then.
func (g *Log) Patch(raw []byte) (kept int64, err error) {
	set := &g.store.patches
	set.making.Lock()
	defer set.making.Unlock()
	set.endLoan(g)
	if g.store.closing.Load() {
		return 0, ErrClosed
	}
	cuts := g.synced().cuts
	pieces, err := g.missing(raw)
	if err != nil || len(pieces) == 0 {
		return 0, err
	}
	made, err := g.store.writePatches(pieces)
	if g.makeRoom(pieces, err) {
		made, err = g.store.writePatches(pieces)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: patch offsets %d to %d: %w", g.id, pieces[0].First, pieces[len(pieces)-1].Next-1, err)
	}
	if !g.takePatches(made, cuts) {
		return 0, fmt.Errorf("%s: patch: the log was cut back meanwhile: %w", g.id, ErrOffsetOutOfRange)
	}
	for _, p := range pieces {
		kept += p.Next - p.First
	}
	return kept, nil
}

// piece is what becomes one patch file.
type piece struct {
	patchHeader
	batches []byte // a part of what was given
}

// missing verifies raw and returns what of it can't be read here, in pieces.
func (g *Log) missing(raw []byte) (pieces []piece, err error) {
	var buf []byte
	next := int64(-1)
	for at := 0; at < len(raw); {
		one, _, err := batch.Next(raw[at:])
		if err != nil {
			return nil, g.foreign("%v", err)
		}
		h, err := batch.Verify(one)
		if err != nil {
			return nil, g.foreign("%v", err)
		}
		if next >= 0 && h.BaseOffset != next {
			return nil, g.foreign("it begins at %d, the one before it ends at %d", h.BaseOffset, next-1)
		}
		next = h.NextOffset()
		var lost bool
		if lost, buf, err = g.lost(h, one, buf); err != nil {
			return nil, err
		}
		if from := at; lost {
			pieces = g.addPiece(pieces, h, raw, from, from+len(one))
		}
		at += len(one)
	}
	return pieces, nil
}

func (g *Log) foreign(format string, args ...any) error {
	return fmt.Errorf("%s: %w: %s", g.id, ErrForeignBatch, fmt.Sprintf(format, args...))
}

// lost says whether a batch is one that this log held and can't read any more.
func (g *Log) lost(h batch.Header, one, buf []byte) (bool, []byte, error) {
	b := g.synced()
	switch {
	case h.NextOffset() <= b.start:
		return false, buf, nil
	case h.BaseOffset < b.start || h.NextOffset() > b.limit:
		return false, buf, g.foreign("it holds %d to %d, the log %d to %d", h.BaseOffset, h.LastOffset(), b.start, b.limit-1)
	}
	if !g.proven(h) {
		return false, buf, g.foreign("it holds %d to %d of leader epoch %d, the log has them of another", h.BaseOffset, h.LastOffset(), h.LeaderEpoch)
	}
	buf, err := g.readTo(g.synced, h.BaseOffset, buf[:0], len(one))
	c := (*CorruptError)(nil)
	switch {
	case err == nil && bytes.HasPrefix(buf, one), errors.Is(err, ErrOffsetOutOfRange):
		return false, buf, nil
	case err == nil:
		return false, buf, g.foreign("what is here at %d can be read, and is not the same", h.BaseOffset)
	case !errors.As(err, &c):
		return false, buf, err
	case c.LastOffset < h.LastOffset():
		return false, buf, g.foreign("it holds %d to %d, lost are %d to %d", h.BaseOffset, h.LastOffset(), c.FirstOffset, c.LastOffset)
	}
	return true, buf, nil
}

// proven says whether the log has the batch's leader epoch at its offsets. Where it
// does not know (the metadata file was lost) the batches on either side tell, if both
// are of one epoch: those between can't be of another.
func (g *Log) proven(h batch.Header) bool {
	g.mu.Lock()
	known := g.epochs.at(max(h.BaseOffset, g.start)) >= 0
	g.mu.Unlock()
	if known {
		return g.ofEpoch(h.BaseOffset, h.NextOffset(), h.LeaderEpoch)
	}
	return g.neighbour(h.BaseOffset-1, func(c *CorruptError) int64 { return c.FirstOffset - 1 }) == h.LeaderEpoch &&
		g.neighbour(h.NextOffset(), func(c *CorruptError) int64 { return c.LastOffset + 1 }) == h.LeaderEpoch
}

// neighbour returns the leader epoch of the batch at offset, or of the next that can
// be read; -1 when there is none near.
func (g *Log) neighbour(offset int64, next func(*CorruptError) int64) int32 {
	for range neighboursMax {
		b, err := g.readTo(g.synced, offset, nil, 1)
		c := (*CorruptError)(nil)
		if errors.As(err, &c) {
			offset = next(c)
			continue
		}
		if h, parsed := batch.ParseHeader(b); err == nil && parsed == nil {
			return h.LeaderEpoch
		}
		break
	}
	return -1
}

// ofEpoch says whether first to next-1 may be of a leader epoch. Where the log does
// not know its own all up to the oldest it knows may.
func (g *Log) ofEpoch(first, next int64, epoch int32) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.epochMayBe(max(first, g.start), epoch) && g.epochMayBe(next-1, epoch)
}

func (g *Log) epochMayBe(offset int64, epoch int32) bool {
	if known := g.epochs.at(offset); known >= 0 {
		return known == epoch
	}
	return len(g.epochs) == 0 || epoch <= g.epochs[0].Epoch
}

// addPiece adds the batch raw[from:to] to the last piece, or begins another: a
// patch is of one leader epoch, without a gap, and not too large to be verified
// each time it is read.
func (g *Log) addPiece(pieces []piece, h batch.Header, raw []byte, from, to int) []piece {
	if n := len(pieces); n > 0 {
		p := &pieces[n-1]
		if p.Next == h.BaseOffset && p.Epoch == h.LeaderEpoch && len(p.batches)+to-from <= patchFileBytes {
			p.Next, p.batches = h.NextOffset(), raw[from-len(p.batches):to]
			return pieces
		}
	}
	head := patchHeader{Store: g.store.id, Ref: g.ref, Epoch: h.LeaderEpoch, First: h.BaseOffset, Next: h.NextOffset()}
	return append(pieces, piece{head, raw[from:to]})
}
