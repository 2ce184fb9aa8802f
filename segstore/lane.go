package segstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"cistern/segstore/batch"
	"cistern/segstore/segment"
	"cistern/segstore/vfs"
)

// Entry is one batch to append, or one truncation.
type Entry struct {
	Log   *Log
	Batch []byte

	// Verbatim keeps the batch's own base offset and epoch, which must fit
	// the log's end: what a follower appends. Otherwise both are stamped.
	Verbatim bool

	// Truncate cuts the log back to Offset; Batch is nil then.
	Truncate bool
	Offset   int64

	// Set when the group is done.
	BaseOffset int64
	Err        error
}

// Group is what is to be committed together, with one write and one sync if
// it fits one segment. Done is called once, on the lane's goroutine, when every
// entry has its BaseOffset or Err; it must not block.
type Group struct {
	Entries []Entry
	Done    func(*Group)
}

// lane is one journal: a chain of segments and the goroutine that writes it.
// Fields below work belong to whoever holds it: the goroutine while it commits,
// Run while it heals.
type lane struct {
	store     *Store
	index     uint8
	full      atomic.Bool // the last roll found no room
	isLatched atomic.Bool // latched != nil, for others to see

	queueMu sync.Mutex
	queue   []*Group
	stopped bool
	signal  chan struct{}
	done    chan struct{}

	work    sync.Mutex
	enc     segment.Encoder
	begun   bool // enc holds the beginning of the next commit
	placed  []placed
	header  segment.Header
	file    vfs.File // of the active segment, nil before the first roll
	slot    uint32   // where that file is
	pos     int64    // where the next commit goes; 0: the header page goes first
	seq     uint64   // of the next commit
	batches int      // in the active segment
	latched error

	snapMark uint64 // of the pool, when the active segment's snapshot was taken

	activeMu sync.RWMutex // for readers
	active   *segmentInfo
	holds    segment.Index
}

// placed is an entry that is in the open commit.
type placed struct {
	entry     *Entry
	next      int64
	epoch     int32
	pos       int64
	frameSize int
}

// encoderKeep is the buffer a lane keeps between commits; one that grew
// further is let go.
const encoderKeep = 2 << 20

func newLane(s *Store, index uint8) *lane {
	return &lane{store: s, index: index, signal: make(chan struct{}, 1), done: make(chan struct{}), holds: segment.Index{}}
}

// Submit queues a group for its lane; all entries must be of that lane. It
// never blocks: who submits bounds what is outstanding.
func (s *Store) Submit(g *Group) {
	l := g.Entries[0].Log.lane
	l.queueMu.Lock()
	stopped := l.stopped
	if !stopped {
		l.queue = append(l.queue, g)
	}
	l.queueMu.Unlock()
	if stopped {
		fail(g, ErrClosed)
		g.Done(g)
		return
	}
	select {
	case l.signal <- struct{}{}:
	default:
	}
}

// Commit appends entries of one lane and returns when they are on flash, with
// the first error.
func (s *Store) Commit(entries ...Entry) ([]Entry, error) {
	done := make(chan struct{})
	g := &Group{Entries: entries, Done: func(*Group) { close(done) }}
	s.Submit(g)
	<-done
	for i := range entries {
		if entries[i].Err != nil {
			return entries, entries[i].Err
		}
	}
	return entries, nil
}

func fail(g *Group, err error) {
	for i := range g.Entries {
		g.Entries[i].Err = err
	}
}

// run commits what is queued, all of it at a time, until stop.
func (l *lane) run() {
	defer close(l.done)
	for range l.signal {
		l.queueMu.Lock()
		groups, stopped := l.queue, l.stopped
		l.queue = nil
		l.queueMu.Unlock()
		if len(groups) > 0 {
			l.commit(groups)
			for _, g := range groups {
				g.Done(g)
			}
		}
		if stopped {
			return
		}
	}
}

func (l *lane) stop() {
	l.queueMu.Lock()
	l.stopped = true
	l.queueMu.Unlock()
	select {
	case l.signal <- struct{}{}:
	default:
	}
	<-l.done
	if l.file != nil {
		l.file.Close()
	}
}

func (l *lane) commit(groups []*Group) {
	l.work.Lock()
	defer l.work.Unlock()
	var refused error // once one is refused for want of room, so are all behind it: order
	for _, g := range groups {
		for i := range g.Entries {
			e := &g.Entries[i]
			if e.Err = refused; refused == nil {
				e.Err = l.place(e)
			}
			if errors.Is(e.Err, ErrFull) {
				refused = e.Err
			}
		}
	}
	l.flush()
	if l.enc.Cap() > encoderKeep && !l.begun {
		l.enc = segment.Encoder{}
	}
}

// place puts an entry into the open commit, flushing and rolling as needed.
func (l *lane) place(e *Entry) error {
	need := segment.FrameHeaderLen + 8
	var h batch.Header
	if !e.Truncate {
		var err error
		if h, err = batch.ParseHeader(e.Batch); err != nil || h.Size() != len(e.Batch) {
			return fmt.Errorf("%s: not one whole batch: %w", e.Log.id, errors.Join(err, batch.ErrMalformed))
		}
		if e.Verbatim && h.BaseOffset != e.Log.next {
			return fmt.Errorf("%s: batch begins at %d, the log ends at %d: %w", e.Log.id, h.BaseOffset, e.Log.next, ErrWrongOffset)
		}
		need = segment.FrameHeaderLen + len(e.Batch)
	} else if e.Offset < e.Log.StartOffset() || e.Offset > e.Log.next {
		return fmt.Errorf("%s: truncate to %d: %w", e.Log.id, e.Offset, ErrOffsetOutOfRange)
	}
	if err := l.reserve(need); err != nil {
		return err
	}
	if e.Truncate {
		pos, _ := l.enc.End(binary.BigEndian.AppendUint64(l.enc.Begin(segment.FrameTruncate, e.Log.ref), uint64(e.Offset)))
		e.Log.next = e.Offset
		l.placed = append(l.placed, placed{entry: e, next: e.Offset, pos: pos})
		return nil
	}
	p := placed{entry: e, frameSize: need, epoch: h.LeaderEpoch}
	pos, payload := l.enc.End(append(l.enc.Begin(segment.FrameBatch, e.Log.ref), e.Batch...))
	if !e.Verbatim {
		p.epoch = e.Log.Epoch()
		batch.Stamp(payload, e.Log.next, p.epoch)
	}
	e.BaseOffset = e.Log.next
	e.Log.next += int64(h.LastOffsetDelta) + 1
	p.pos, p.next = pos, e.Log.next
	l.placed = append(l.placed, p)
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

// flush writes and syncs the open commit and tells everybody. On an error it
// latches the lane and fails every entry of the commit.
func (l *lane) flush() {
	if len(l.placed) == 0 {
		return
	}
	riders, err := l.write()
	l.begun = false
	if err != nil {
		l.store.state.unride(riders)
		l.latch(err)
		for _, p := range l.placed {
			p.entry.Err = l.latched
			p.entry.Log.next = p.entry.Log.EndOffset()
		}
	} else {
		l.publish()
	}
	clear(l.placed)
	l.placed = l.placed[:0]
}

func (l *lane) write() (riders []string, err error) {
	if err := l.saveEpochs(); err != nil {
		return nil, err
	}
	slack := int(segment.PageAlign(int64(l.enc.Len()))) - l.enc.Len()
	riders = l.store.state.ride(&l.enc, slack)
	data := l.enc.Finish(l.seq, l.store.age(), l.store.cfg.Clock.Wall().UnixMilli())
	if l.pos == 0 {
		// The footer of the segment's last use must not outlive this one.
		if _, err := l.file.WriteAt(zeroPage, int64(l.header.SizeBytes)-segment.PageSize); err != nil {
			return riders, err
		}
		l.store.stats.bytesWritten.Add(segment.PageSize)
	}
	if _, err := l.file.WriteAt(data, l.pos); err != nil {
		return riders, err
	}
	if err := l.file.Sync(); err != nil {
		return riders, err
	}
	l.store.stats.committed(len(data), len(l.placed))
	if l.pos == 0 {
		l.register()
	}
	l.pos += int64(len(data))
	l.seq++
	return riders, nil
}

var zeroPage = make([]byte, segment.PageSize)

// saveEpochs makes leader epochs that begin in this commit durable before it.
func (l *lane) saveEpochs() error {
	var kvs []KV
	for _, p := range l.placed {
		g := p.entry.Log
		g.mu.Lock()
		if !p.entry.Truncate && p.epoch > g.epochs.last() {
			g.epochs.assign(p.epoch, p.entry.BaseOffset)
			kvs = append(kvs, epochKV(g.id, p.epoch, p.entry.BaseOffset))
		}
		g.mu.Unlock()
	}
	return l.store.meta.Put(kvs...)
}

// register makes a segment whose first commit is on flash known to readers.
func (l *lane) register() {
	seg := &segmentInfo{id: l.header.ID, slot: l.slot, lane: l.index, firstSeq: l.header.FirstSeq, size: int64(l.header.SizeBytes)}
	l.activeMu.Lock()
	l.active, l.holds = seg, segment.Index{}
	l.activeMu.Unlock()
	l.store.addSegment(seg)
	l.store.pool.durable(l.snapMark)
	l.batches = 0
}

// publish moves the ends of the logs to what is on flash now.
func (l *lane) publish() {
	l.active.lastSeq, l.active.age = l.seq-1, l.store.age()
	l.activeMu.Lock()
	for i, p := range l.placed {
		g := p.entry.Log
		if p.entry.Truncate {
			before := l.holds.Partition(g.ref).Bytes
			l.holds.Truncate(g.ref, p.next)
			l.placed[i].frameSize = int(l.holds.Partition(g.ref).Bytes - before)
		} else {
			l.holds.Append(g.ref, p.entry.BaseOffset, p.next, p.pos, p.frameSize)
			l.batches++
		}
	}
	l.activeMu.Unlock()
	var gone []KV
	for _, p := range l.placed {
		g := p.entry.Log
		g.mu.Lock()
		if p.entry.Truncate {
			for _, e := range g.cutBack(l.active.id, p.next) {
				gone = append(gone, KV{Bucket: bucketEpochs, Key: epochKey(g.id, e.Epoch)})
			}
		} else {
			g.extend(l.active.id, p.entry.BaseOffset)
		}
		g.mu.Unlock()
		g.published(p.next, int64(p.frameSize))
	}
	if err := l.store.meta.Put(gone...); err != nil {
		l.store.log.Warn("epochs that were cut off stay in the metadata file until the next start", "lane", l.name(), "error", err)
	}
}

// latch stops the lane: after a failed write or sync nobody knows what the
// device holds, and trying again proves nothing.
func (l *lane) latch(cause error) {
	l.latched = fmt.Errorf("%w: %w", ErrLatched, cause)
	l.isLatched.Store(true)
	l.store.stats.latched.Add(1)
	l.store.log.Error("journal latched: nothing is confirmed until its end was read back from the device",
		"lane", l.name(), "segment", l.header.ID, "position", l.pos, "cause", cause)
	l.store.wake()
}

// activeRun returns the part of a log that lies in the active segment, from
// the batch that may hold offset on.
func (l *lane) activeRun(ref uint32, offset int64) (run, bool) {
	l.activeMu.RLock()
	defer l.activeMu.RUnlock()
	e := l.holds[ref]
	if l.active == nil || e == nil || len(e.Refs) == 0 || offset < e.Base || offset >= e.Next {
		return run{}, false
	}
	from := e.Find(offset)
	to := min(len(e.Refs), from+activeRunMax)
	end := e.Next
	if to < len(e.Refs) {
		end = e.Refs[to].Offset
	}
	return run{seg: l.active, refs: append([]segment.BatchRef(nil), e.Refs[from:to]...), end: end}, true
}

// activeRunMax bounds how many references a reader copies under the lock.
const activeRunMax = 256
