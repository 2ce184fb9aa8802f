package segstore

import (
	"errors"
	"strconv"
	"strings"

	"cistern/segstore/batch"
	"cistern/segstore/segment"
	"cistern/segstore/vfs"
)

// Hole returns the first range of offsets from `from` on, below the log's end, that
// neither the journal's indexes nor a patch hold; the log's end, since after a crash
// the high watermark that is known here lags. It does not read records: a batch that
// an index names and that rotted is no hole, nor one in a patch that did.
func (g *Log) Hole(from int64) (first, last int64, ok bool, err error) {
	holed, err := g.store.holed()
	if err != nil {
		return 0, 0, false, err
	}
	for {
		b := g.synced()
		first, next, err := g.holeIn(max(from, b.start), b.limit, holed)
		after := g.synced()
		if after.cuts != b.cuts || after.start > max(first, b.start) {
			continue // what was looked at is gone
		}
		return first, next - 1, first < next, err
	}
}

// Patched returns the first range of offsets from `from` on that a patch holds.
func (g *Log) Patched(from int64) (first, last int64, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.patches { // in order of first
		if p.next > from {
			return max(p.first, from), p.next - 1, true
		}
	}
	return 0, 0, false
}

// holeIn looks for a hole from at to limit. It returns next == first when there
// is none.
func (g *Log) holeIn(at, limit int64, holed map[uint64]bool) (first, next int64, err error) {
	for at < limit {
		if to := g.patchedTo(at); to > at {
			at = to
			continue
		}
		r, err := g.locate(at, limit)
		c := (*CorruptError)(nil)
		switch {
		case errors.As(err, &c):
			return at, g.patchedFrom(at, min(c.LastOffset+1, limit)), nil
		case err != nil:
			return at, at, err
		case !r.covers(at):
			return at, g.patchedFrom(at, min(r.firstOffset(limit), limit)), nil
		}
		to, again := r.end, r.end
		if holed[r.seg.id] {
			to, again = g.holeBetween(r)
		}
		if to = g.patchedTo(max(to, at)); to < min(again, limit) {
			return to, g.patchedFrom(to, min(again, limit)), nil
		}
		at = max(at+1, again)
	}
	return at, at, nil
}

// holeBetween looks between the batches of a run. An index says where batches begin
// and not where they end; only where a commit may be missing between two is the
// first one's header read.
func (g *Log) holeBetween(r run) (from, to int64) {
	b := make([]byte, segment.FrameHeaderLen+batch.HeaderLen)
	for k := 0; k+1 < len(r.refs); k++ {
		ref, next := r.refs[k], r.refs[k+1]
		if next.Pos-(ref.Pos+ref.Len) < segment.PageSize {
			continue
		}
		err := g.store.files.with(r.seg.slot, func(f vfs.File) error {
			_, err := f.ReadAt(b, int64(ref.Pos))
			return err
		})
		if err != nil {
			continue // it rotted: not for this to say
		}
		h, err := batch.ParseHeader(b[segment.FrameHeaderLen:])
		if err == nil && h.BaseOffset == ref.Offset && h.NextOffset() < next.Offset {
			return h.NextOffset(), next.Offset
		}
	}
	return r.end, r.end
}

// patchedTo returns the end of the patches that hold offset and what follows it,
// or offset; patchedFrom where the first patch above offset begins, next at most.
func (g *Log) patchedTo(offset int64) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.patches {
		if !p.damaged && p.first <= offset && offset < p.next && g.epochMayBe(offset, p.epoch) {
			offset = p.next
		}
	}
	return offset
}

func (g *Log) patchedFrom(offset, next int64) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.patches {
		if !p.damaged && p.first > offset {
			next = min(next, p.first)
		}
	}
	return next
}

// holed returns the IDs of the segments of which commits are missing, as was noted
// when they were found so: those that have expired since among them.
func (s *Store) holed() (map[uint64]bool, error) {
	ids := map[uint64]bool{}
	err := s.meta.Each(bucketDamage, func(key string, _ []byte) error {
		if parts := strings.Split(key, "/"); len(parts) == 3 {
			if id, err := strconv.ParseUint(parts[1], 10, 64); err == nil {
				ids[id] = true
			}
		}
		return nil
	})
	return ids, err
}
