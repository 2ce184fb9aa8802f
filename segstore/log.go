package segstore

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"cistern/gossip/metadata"
)

// Log is one partition's view of its lane's journal.
//
//	start ≤ high watermark ≤ end
//
// end is the synced log end: what lies below it survives a power cut. The high
// watermark is what readers may see: the end, unless the log is Replicated.
type Log struct {
	store *Store
	lane  *lane
	id    metadata.PartitionID
	ref   uint32

	mu       sync.Mutex
	start    int64
	end      int64
	hw       int64
	epoch    int32 // stamped on what is appended here
	epochs   epochCache
	drained  int64 // nobody upstream needs what lies below
	bytes    int64 // of batches between start and end, by whole segments
	extents  []extent
	flight   []inFlight // what is being written, if the log is replicated
	patches  []*patch   // what flash lost and another copy gave back, by offset
	watchers map[chan struct{}]struct{}

	dropped   int64  // records given up undrained, ever
	truncated int64  // records cut off, ever
	cuts      uint64 // truncations and restarts in this process: readers look twice
	restarts  uint64 // ever: a log start noted before the last of them is void

	unclean    atomic.Bool // see Store.Unclean
	replicated atomic.Bool
	onPlaced   atomic.Pointer[func()]

	// The lane's goroutine only: the log with what is being committed.
	next      int64
	lastEpoch int32 // of the last batch, -1
	spent     int32 // no more batches of this leader epoch: see takeBack
	open      int   // what the open commit has of the log
}

// extent says that from base on the log is found in segment id or a later one.
// There is one for each segment that holds a part of the log; past extentsMax
// every second goes, and readers walk a little further. Where the log was cut
// back the extent stays for good: it hides what older segments hold above it.
type extent struct {
	segment uint64
	base    int64
	cut     bool
}

const extentsMax = 256

// Partition, StartOffset, EndOffset and HighWatermark say what the log holds.
func (g *Log) Partition() metadata.PartitionID { return g.id }

func (g *Log) StartOffset() int64   { return g.get(&g.start) }
func (g *Log) EndOffset() int64     { return g.get(&g.end) }
func (g *Log) HighWatermark() int64 { return g.get(&g.hw) }

// Bytes is the size of the batches held, Dropped the number of records that
// were given up before they were drained.
func (g *Log) Bytes() int64   { return g.get(&g.bytes) }
func (g *Log) Dropped() int64 { return g.get(&g.dropped) }

// Drained is how far the log was drained, as SetDrained was told.
func (g *Log) Drained() int64 { return g.get(&g.drained) }

func (g *Log) get(v *int64) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return *v
}

// Epoch returns the leader epoch stamped on what is appended.
func (g *Log) Epoch() int32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.epoch
}

// SetEpoch sets it. It never goes back.
func (g *Log) SetEpoch(epoch int32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.epoch = max(g.epoch, epoch)
}

// EndOffsetForEpoch returns the largest epoch up to the one asked for that has
// records here, and the offset after its last; -1, -1 when there is none
// (KIP-101, KIP-279).
func (g *Log) EndOffsetForEpoch(epoch int32) (int32, int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.epochs.endOffset(epoch, g.placedEnd())
}

// SetDrained says that nobody upstream needs the records below offset.
func (g *Log) SetDrained(offset int64) {
	g.mu.Lock()
	moved := offset > g.drained
	g.drained = max(g.drained, min(offset, g.end))
	g.mu.Unlock()
	if moved && g.lane.full.Load() {
		g.store.wake()
	}
}

// Condition says whether the log takes batches now. It may have changed by the
// time one is submitted.
type Condition int

const (
	Ready   Condition = iota
	Full              // no room was found, and nothing has been freed since
	Latched           // after a failed write
)

// Condition of the log's lane.
func (g *Log) Condition() Condition {
	switch {
	case g.lane.isLatched.Load():
		return Latched
	case g.lane.full.Load():
		return Full
	}
	return Ready
}

// Watch returns a channel that gets a value after the high watermark moved
// (several moves may give one), and a function that ends it.
func (g *Log) Watch() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watchers[ch] = struct{}{}
	return ch, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.watchers, ch)
	}
}

// published is called by the lane when a batch or cut is on flash. The mutex is
// held.
func (g *Log) published(end, bytes int64) {
	g.end = end
	g.bytes += bytes
	if n := len(g.flight); n > 0 && g.flight[n-1].next <= end {
		g.land()
	}
	if !g.replicated.Load() {
		g.hw = end
		g.tell()
	}
}

// tell wakes who watches the high watermark. The mutex is held.
func (g *Log) tell() {
	for ch := range g.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// extend notes that segment id holds the log from base on. Older segments count
// below base only: where they hold more, the log was cut back since.
func (g *Log) extend(id uint64, base int64) {
	n := len(g.extents)
	if n > 0 && g.extents[n-1].segment == id {
		g.extents[n-1].base = min(base, g.extents[n-1].base)
		return
	}
	if n > 0 && g.extents[n-1].base > base {
		g.cutExtents(id, base)
		return
	}
	g.extents = append(g.extents, extent{segment: id, base: base})
	if len(g.extents) > extentsMax {
		g.thinExtents()
	}
}

func (g *Log) thinExtents() {
	kept := g.extents[:1]
	for i, x := range g.extents[1:] {
		if x.cut || i%2 == 1 || i == len(g.extents)-2 {
			kept = append(kept, x)
		}
	}
	g.extents = kept
}

// cutBack forgets all from offset on; segment id is where the log goes on. It
// returns the epochs that begin there. The mutex is held.
func (g *Log) cutBack(id uint64, offset int64) (gone []epochStart) {
	g.cutExtents(id, offset)
	g.truncated += g.end - offset
	g.cuts++
	g.end, g.hw, g.drained = offset, min(g.hw, offset), min(g.drained, offset)
	gone = g.epochs.cut(offset)
	g.lastEpoch = g.epochs.last()
	g.dropPatches(func(p *patch) bool { return p.next > offset })
	g.keepCounts()
	return gone
}

func (g *Log) cutExtents(id uint64, offset int64) {
	keep := len(g.extents)
	for keep > 0 && g.extents[keep-1].base >= offset {
		keep--
	}
	g.extents = g.extents[:keep]
	if keep == 0 || g.extents[keep-1].segment != id { // else its own index knows
		g.extents = append(g.extents, extent{segment: id, base: offset, cut: true})
	}
}

// alive returns up to where the log still counts on a segment that holds base to
// next: not beyond where a later segment takes over. It returns base when all
// was cut off.
func (g *Log) alive(id uint64, base, next int64) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	next = min(next, g.end)
	for _, x := range g.extents {
		if x.segment > id {
			next = min(next, x.base)
			break
		}
	}
	return max(base, next)
}

// advanceStart gives up what lies below offset, with so many bytes of batches.
// Records that were not drained by then count as dropped; it returns them.
func (g *Log) advanceStart(offset, bytes int64) (lost int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bytes -= bytes
	if offset <= g.start {
		return 0
	}
	if lost = max(offset-max(g.start, g.drained), 0); lost > 0 {
		g.dropped += lost
		g.keepCounts()
	}
	g.start, g.drained = offset, max(g.drained, offset)
	for len(g.extents) > 1 && g.extents[1].base <= offset {
		g.extents = g.extents[1:]
	}
	g.epochs.advance(offset)
	g.dropPatches(func(p *patch) bool { return p.next <= offset })
	g.store.state.Put(startKey(g.id), logStart{g.start, g.restarts}.append(nil))
	return lost
}

// keepCounts makes the counts durable with one of the next commits.
func (g *Log) keepCounts() {
	b := binary.BigEndian.AppendUint64(nil, uint64(g.dropped))
	g.store.state.Put(droppedKey(g.id), binary.BigEndian.AppendUint64(b, uint64(g.truncated)))
}

// logStart is where a log began after so many restarts. What was noted before
// the last restart says nothing about the log since.
type logStart struct {
	offset   int64
	restarts uint64
}

func (s logStart) append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, uint64(s.offset)), s.restarts)
}

// parseLogStart reads a logStart; the first version had no count of restarts.
func parseLogStart(b []byte) (s logStart, ok bool) {
	if len(b) >= 16 {
		s.restarts = binary.BigEndian.Uint64(b[8:])
	}
	if len(b) >= 8 {
		s.offset = int64(binary.BigEndian.Uint64(b))
	}
	return s, len(b) >= 8
}
