package segstore

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"cistern/segstore/batch"
	"cistern/segstore/segment"
	"cistern/segstore/vfs"
)

// Entry is one batch to append, one truncation or one restart.
type Entry struct {
	Log   *Log
	Batch []byte

	// Verbatim keeps the batch's own base offset and epoch, which must fit
	// the log's end: what a follower appends. Otherwise both are stamped.
	Verbatim bool

	// Admit, if set, is asked on the lane's goroutine right before the batch
	// is placed at base, when room for it was found: what must be decided in
	// the order of the log is decided here. Its epoch is stamped; a verbatim
	// batch must have it already. Its error becomes Err, and nothing is placed.
	// It must not block, nor keep h. Of a cut it is asked, too, with h nil.
	Admit func(h *batch.Header, base int64) (epoch int32, err error)

	// Truncate cuts the log back to Offset: all from there on is gone.
	// Restart empties it and lets it go on at Offset, above or below. Batch is
	// nil then.
	Truncate bool
	Restart  bool
	Offset   int64

	// Set when the group is done.
	BaseOffset int64
	Err        error
}

// cuts reports whether e takes records away.
func (e *Entry) cuts() bool { return e.Truncate || e.Restart }

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
	damaged   atomic.Bool // flash lost commits of this lane: see Store.Unclean

	queueMu sync.Mutex
	queue   []*Group
	stopped bool
	signal  chan struct{}
	done    chan struct{}
	company company // the goroutine's own

	work    sync.Mutex
	enc     segment.Encoder
	begun   bool // enc holds the beginning of the next commit
	placed  []placed
	shared  []*Log // replicated ones that have batches in the open commit
	debts   []KV   // lines of the metadata file that the next commit brings along
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
	gone      []KV // of a restart: lines of the metadata file that are void then
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
	if !g.Entries[0].Log.lane.submit(g) {
		fail(g, ErrClosed)
		g.Done(g)
	}
}

// submit queues a group, unless the lane has stopped.
func (l *lane) submit(g *Group) bool {
	l.queueMu.Lock()
	stopped := l.stopped
	if !stopped {
		l.queue = append(l.queue, g)
	}
	l.queueMu.Unlock()
	if stopped {
		return false
	}
	select {
	case l.signal <- struct{}{}:
	default:
	}
	return true
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
	timer := time.NewTimer(0)
	defer timer.Stop()
	for range l.signal {
		l.gather(timer)
		l.queueMu.Lock()
		groups, stopped := l.queue, l.stopped
		l.queue = nil
		l.queueMu.Unlock()
		if len(groups) > 0 {
			l.commitAll(groups)
		}
		if stopped {
			return
		}
	}
}

// commitAll commits groups, answers them, and guesses what comes next.
func (l *lane) commitAll(groups []*Group) {
	began := time.Now()
	several := fromSeveral(groups)
	l.commit(groups)
	for _, g := range groups {
		g.Done(g)
	}
	if several {
		now := time.Now()
		waiting, _ := l.queued()
		l.company.ended(len(groups)+waiting, now.Sub(began), now)
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
		l.takeBack()
	} else {
		l.publish()
	}
	for _, p := range l.placed {
		p.entry.Log.open = openNot
	}
	clear(l.placed)
	l.placed = l.placed[:0]
	clear(l.shared)
	l.shared = l.shared[:0]
}

func (l *lane) write() (riders []string, err error) {
	lines := l.noteEpochs()
	slack := int(segment.PageAlign(int64(l.enc.Len()))) - l.enc.Len()
	riders = l.store.state.ride(&l.enc, slack)
	data := l.enc.Finish(l.seq, l.store.age(), l.store.cfg.Clock.Wall().UnixMilli())
	l.share(data)
	if err := l.store.meta.Put(lines...); err != nil {
		return riders, err
	}
	l.debts = l.debts[:0]
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
