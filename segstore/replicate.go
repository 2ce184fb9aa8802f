package segstore

import (
	"fmt"
	"sort"

	"cistern/segstore/batch"
)

// inFlight is a batch of the commit that is being written. data is a part of the
// lane's buffer and valid under the log's mutex only.
type inFlight struct {
	base, next int64
	data       []byte
}

// Replicate makes the log one of several copies: from now on its high watermark,
// which goes back to the log's start, moves only by SetHighWatermark. placed is
// called on the lane's goroutine whenever batches of the log are about to be
// written: ReadPlaced has them then. It must not block.
//
// Call it before Run and before anybody reads.
func (g *Log) Replicate(placed func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if placed != nil {
		g.onPlaced.Store(&placed)
	}
	if !g.replicated.Swap(true) {
		g.hw = g.start
	}
}

// SetHighWatermark says that what lies below offset is on every in-sync copy. It
// never goes back, nor beyond the log's end.
func (g *Log) SetHighWatermark(offset int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if offset = min(offset, g.end); offset > g.hw {
		g.hw = offset
		g.tell()
	}
}

// PlacedOffset returns the end of the log with what is being written now. It
// goes back to EndOffset when the write fails.
func (g *Log) PlacedOffset() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.placedEnd()
}

func (g *Log) placedEnd() int64 {
	if n := len(g.flight); n > 0 {
		return g.flight[n-1].next
	}
	return g.end
}

// LastEpoch returns the leader epoch of the last batch, with those that are
// being written now; -1 when there is none.
func (g *Log) LastEpoch() int32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.epochs.last()
}

// Truncated returns the number of records that truncations and restarts took
// away, ever. A crash may forget the last of them.
func (g *Log) Truncated() int64 { return g.get(&g.truncated) }

// ReadPlaced is Read up to PlacedOffset: what a leader's followers get. What is
// not on flash yet comes from memory.
func (g *Log) ReadPlaced(offset int64, buf []byte, sizeMax int) ([]byte, error) {
	if out, ok := g.readFlight(offset, buf, sizeMax); ok {
		return out, nil
	}
	return g.readTo(g.synced, offset, buf, sizeMax)
}

// readFlight reads from the commit that is being written, if offset lies there.
func (g *Log) readFlight(offset int64, buf []byte, sizeMax int) ([]byte, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.flight) == 0 || offset < g.end || offset > g.placedEnd() {
		return buf, false
	}
	i := sort.Search(len(g.flight), func(i int) bool { return g.flight[i].next > offset })
	start := len(buf)
	for _, b := range g.flight[i:] {
		if len(buf) > start && len(buf)-start+len(b.data) > sizeMax {
			break
		}
		buf = append(buf, b.data...)
	}
	return buf, true
}

// land forgets what was being written. The mutex is held.
func (g *Log) land() {
	clear(g.flight)
	g.flight = g.flight[:0]
}

// batchAt returns where the batch that holds offset begins, or offset where the
// log ends: only whole batches can be cut off. The lane's goroutine calls it.
func (g *Log) batchAt(offset int64) (int64, error) {
	if offset == g.next || offset == g.StartOffset() {
		return offset, nil
	}
	r, err := g.locate(offset, g.next)
	if err != nil {
		return 0, fmt.Errorf("find the batch: %w", err)
	}
	if r.covers(offset) {
		return r.refs[0].Offset, nil
	}
	rest, err := g.patched(offset)
	if err != nil {
		return 0, fmt.Errorf("find the batch: %w", err)
	}
	for len(rest) > 0 {
		h, err := batch.ParseHeader(rest)
		if err != nil || h.NextOffset() > offset {
			return h.BaseOffset, err
		}
		rest = rest[h.Size():]
	}
	return offset, nil // a hole
}

// restart empties the log, which goes on at offset in segment id. The mutex is
// held.
func (g *Log) restart(id uint64, offset int64) {
	g.epochs = nil
	g.truncated += g.end - g.start
	g.restarts++
	g.cuts++
	g.lastEpoch = -1
	g.extents = append(g.extents[:0], extent{segment: id, base: offset, cut: true})
	g.start, g.end, g.hw, g.drained = offset, offset, offset, offset
	g.dropPatches(func(*patch) bool { return true })
	g.keepCounts()
}
