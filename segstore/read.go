package segstore

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"syscall"

	"cistern/segstore/batch"
	"cistern/segstore/segment"
	"cistern/segstore/vfs"
)

// Read appends whole stored batches to buf and returns it. The first contains
// offset, and may begin below it; all end at or below the high watermark. It
// stops before passing sizeMax bytes, but returns one batch at least; none
// when offset is the high watermark.
//
// Errors: ErrOffsetOutOfRange when offset lies below the start or above the
// high watermark; *CorruptError when the batch can't be read back.
func (g *Log) Read(offset int64, buf []byte, sizeMax int) ([]byte, error) {
	return g.readTo(g.visible, offset, buf, sizeMax)
}

// bounds is what may be read of a log at one moment.
type bounds struct {
	start, limit int64
	cuts         uint64
}

// visible bounds what everybody may read, synced what is on flash.
func (g *Log) visible() bounds {
	g.mu.Lock()
	defer g.mu.Unlock()
	return bounds{g.start, g.hw, g.cuts}
}

func (g *Log) synced() bounds {
	g.mu.Lock()
	defer g.mu.Unlock()
	return bounds{g.start, g.end, g.cuts}
}

func (g *Log) readTo(now func() bounds, offset int64, buf []byte, sizeMax int) ([]byte, error) {
	for {
		b := now()
		out, err := g.read(offset, b, buf, sizeMax)
		if err != nil {
			out, err = g.mended(now, b, offset, out, err, sizeMax)
		}
		after := now()
		switch {
		case after.cuts != b.cuts:
			buf = out[:len(buf)] // what was read may have been cut off meanwhile
		case err != nil && after.start > max(offset, b.start):
			buf = out[:len(buf)] // not lost: it expired, and its segment went, after b
		default:
			return out, err
		}
	}
}

// mended returns what patches hold of what the journal lost, or what err says is
// lost, within the bounds b.
func (g *Log) mended(now func() bounds, b bounds, offset int64, buf []byte, err error, sizeMax int) ([]byte, error) {
	if errors.Is(err, errRecycled) && now().start <= offset {
		err = g.corrupt(offset, offset, nil, 0, err)
	}
	c := (*CorruptError)(nil)
	if !errors.As(err, &c) {
		return buf, err
	}
	c.LastOffset = max(c.FirstOffset, min(c.LastOffset, b.limit-1))
	return g.readPatched(offset, b.limit, c, buf, sizeMax)
}

var errRecycled = errors.New("the segment is gone")

func (g *Log) read(offset int64, b bounds, buf []byte, sizeMax int) ([]byte, error) {
	switch {
	case offset < b.start || offset > b.limit:
		return buf, fmt.Errorf("%s: offset %d, held are %d to %d: %w", g.id, offset, b.start, b.limit-1, ErrOffsetOutOfRange)
	case offset == b.limit:
		return buf, nil
	}
	run, err := g.locate(offset, b.limit)
	if err != nil {
		return buf, err
	}
	if !run.covers(offset) {
		return buf, g.corrupt(offset, run.firstOffset(b.limit)-1, run.seg, 0, errors.New("no batch was found for them"))
	}
	return g.readRun(run, offset, b.limit, buf, sizeMax)
}

// run is a part of the log that lies in one segment.
type run struct {
	seg  *segmentInfo
	refs []segment.BatchRef // from the batch that may hold the offset on
	end  int64              // what the log holds behind refs begins here, or later
}

func (r run) covers(offset int64) bool { return len(r.refs) > 0 && r.refs[0].Offset <= offset }

func (r run) firstOffset(limit int64) int64 {
	if len(r.refs) == 0 {
		return min(r.end, limit)
	}
	return r.refs[0].Offset
}

// locate finds the segment that holds offset, and its batches from there on.
// Where nothing holds it (flash lost it) the run begins above offset, where the
// next segment that has any of the log does, at limit at most.
func (g *Log) locate(offset, limit int64) (run, error) {
	if r, ok := g.lane.activeRun(g.ref, offset); ok {
		return r, nil
	}
	g.mu.Lock()
	i := sort.Search(len(g.extents), func(i int) bool { return g.extents[i].base > offset })
	if len(g.extents) == 0 {
		g.mu.Unlock()
		return run{end: limit}, nil
	}
	id, end := g.extents[max(i-1, 0)].segment, limit
	if i < len(g.extents) {
		end = g.extents[i].base
	}
	g.mu.Unlock()
	for seg := g.store.segmentFrom(g.lane.index, id); seg != nil && seg.sealed.Load(); seg = g.store.segmentFrom(g.lane.index, seg.id+1) {
		x, err := g.store.index.get(seg)
		if isRot(err) {
			return run{}, g.corrupt(offset, max(end, offset+1)-1, seg, 0, err)
		}
		if err != nil {
			return run{}, err
		}
		e := x[g.ref]
		if e == nil || len(e.Refs) == 0 || e.Next <= offset {
			continue
		}
		refs := e.Refs[e.Find(offset):]
		refs = refs[:sort.Search(len(refs), func(k int) bool { return refs[k].Offset >= max(end, offset+1) })]
		if len(refs) > 0 {
			return run{seg: seg, refs: refs, end: min(e.Next, max(end, offset+1))}, nil
		}
	}
	if r, ok := g.lane.activeRun(g.ref, end); ok { // the hole reaches to the active segment
		return r, nil
	}
	return run{end: max(end, offset+1)}, nil
}

// isRot says whether an error is about what a device holds: not about this
// process, which can't open a file, or about a segment that is gone.
func isRot(err error) bool {
	for _, rot := range []error{segment.ErrChecksum, segment.ErrNotWritten, io.EOF,
		syscall.EIO, syscall.ENODATA, syscall.EBADMSG, syscall.EUCLEAN, syscall.EILSEQ} {
		if errors.Is(err, rot) {
			return true
		}
	}
	return false
}

// readSpanMax bounds one read from the device; slackMax is how much of it may
// belong to others before batches are read one by one.
const (
	readSpanMax = 1 << 20
	slackMax    = 16 << 10
)

// readRun reads the batches of a run, as many neighbours at once as pays.
func (g *Log) readRun(r run, offset, limit int64, buf []byte, sizeMax int) ([]byte, error) {
	start, behind := len(buf), int64(-1)
	err := g.store.files.with(r.seg.slot, func(f vfs.File) error {
		for i := 0; i < len(r.refs); {
			n := r.span(i, sizeMax-(len(buf)-start))
			if n == 0 && len(buf) > start {
				return nil
			}
			n = max(n, 1)
			out, more, err := g.readSpan(f, r, i, n, offset, limit, &behind, buf)
			if err != nil && n > 1 && len(out) == len(buf) {
				n = 1 // a device refuses all of a read for one page of it
				out, more, err = g.readSpan(f, r, i, n, offset, limit, &behind, buf)
			}
			if buf = out; err != nil || !more {
				return err
			}
			i += n
		}
		return nil
	})
	if len(buf) > start {
		return buf, nil // a reader that goes on will come upon the error
	}
	if err != nil && g.store.segment(r.seg.id) == nil {
		return buf, errRecycled
	}
	return buf, err
}

// readSpan reads n batches of a run with one read, into buf itself, and closes
// up the bytes between them. It stops where a batch is missing after behind, where
// the last one ended: whoever reads on there is told. more says that there is
// neither that nor the limit.
func (g *Log) readSpan(f vfs.File, r run, i, n int, offset, limit int64, behind *int64, buf []byte) (out []byte, more bool, err error) {
	first, last := r.refs[i], r.refs[i+n-1]
	start, size := len(buf), int(last.Pos+last.Len-first.Pos)
	buf = slices.Grow(buf, size)[:start+size]
	span := buf[start:]
	if _, err := f.ReadAt(span, int64(first.Pos)); err != nil {
		return buf[:start], false, g.corrupt(first.Offset, r.lastOffset(i), r.seg, int64(first.Pos), err)
	}
	end := start
	for k := i; k < i+n; k++ {
		ref := r.refs[k]
		if *behind >= 0 && ref.Offset > *behind {
			return buf[:end], false, nil
		}
		payload, next, err := g.checkFrame(span[ref.Pos-first.Pos:][:ref.Len], r.seg, ref)
		if err == nil && next <= offset {
			err = errors.New("no batch was found for them")
			ref.Offset = offset
		}
		if err != nil {
			return buf[:end], false, g.corrupt(ref.Offset, r.lastOffset(k), r.seg, int64(ref.Pos), err)
		}
		if next > limit {
			return buf[:end], false, nil
		}
		end += copy(buf[end:], payload)
		*behind = next
	}
	return buf[:end], true, nil
}

// span returns how many batches from i on to read at once: those that lie close
// together, up to size bytes.
func (r run) span(i, size int) int {
	n, used, slack := 0, 0, 0
	for k := i; k < len(r.refs); k++ {
		if k > i {
			slack += int(r.refs[k].Pos) - int(r.refs[k-1].Pos+r.refs[k-1].Len)
		}
		used += int(r.refs[k].Len) - segment.FrameHeaderLen
		if used > size || slack > slackMax+used || used+slack > readSpanMax {
			break
		}
		n++
	}
	return n
}

// lastOffset returns the last offset that batch i can have held.
func (r run) lastOffset(i int) int64 {
	if i+1 < len(r.refs) {
		return r.refs[i+1].Offset - 1
	}
	return r.end - 1
}

// checkFrame verifies one batch frame in all its coordinates, and returns the
// batch and the offset after it.
func (g *Log) checkFrame(b []byte, seg *segmentInfo, ref segment.BatchRef) ([]byte, int64, error) {
	f, _, err := segment.ParseFrame(b, segment.UseOf(g.store.id, seg.id), int64(ref.Pos))
	if err != nil {
		return nil, 0, err
	}
	h, err := batch.ParseHeader(f.Payload)
	if err != nil {
		return nil, 0, err
	}
	if f.Type != segment.FrameBatch || f.Partition != g.ref || h.BaseOffset != ref.Offset || h.Size() != len(f.Payload) {
		return nil, 0, fmt.Errorf("found is a %s of partition %d at offset %d", f.Type, f.Partition, h.BaseOffset)
	}
	return f.Payload, h.NextOffset(), nil
}

func (g *Log) corrupt(first, last int64, seg *segmentInfo, pos int64, cause error) error {
	e := &CorruptError{Stream: g.id.Stream, Partition: g.id.Partition, FirstOffset: first, LastOffset: max(first, last),
		Position: pos, Cause: cause}
	if seg != nil {
		e.Segment, e.Slot = seg.id, seg.slot
	}
	return e
}
