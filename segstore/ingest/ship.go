package ingest

import (
	"sync"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// On a site of several gateways the batches of a group go to different leaders,
// and each is answered when its own leader has answered. So that one of them
// that is slow or gone does not hold up the others of its lane:
//
//   - A group is waited for until each of its batches was answered or Held, at
//     most detachAfter. Batches that are late by then are on their own, and so
//     are those of the same partition after them.
//   - Bytes are charged until Done or Held. Held batches keep their waiters
//     only, HeldRecordsMax in all.
const (
	detachAfter   = 50 * time.Millisecond
	closeWait     = time.Second
	batchOverhead = 256 // bytes charged beside the records: what is kept for each batch
)

// shipping is the part of a pump that deals with a Journal.
type shipping struct {
	heldRecords int                // in batches that are held; under the pump's mu
	groups      []*group           // outstanding, oldest first; likewise
	unanswered  map[*sent]struct{} // likewise
	freeSent    []*sent            // likewise
	shipped     uint64             // likewise

	loaded  []*sent // the sealer's: what it is shipping
	batches []*Batch

	toldMu sync.Mutex
	told   []told
	spare  []told
	deaf   bool // closed: nobody listens any more
	signal chan struct{}

	flushes []Completion // the answering goroutine's
}

// told is something the journal said.
type told struct {
	s    *sent
	what int
}

const (
	taken = iota // acks=0: this is all it waits for
	held
	done
)

// sent is a batch that the journal has, and who waits for it. The waiters are
// the answering goroutine's; what follows is guarded by the pump's mu.
type sent struct {
	Batch
	number  uint64 // rising
	waiters []waiter

	partition *partition
	group     *group // that waits for it, nil: none
	bytes     int    // charged
	held      int    // records, when it was held
}

func (s *shipping) init() {
	s.unanswered, s.signal = map[*sent]struct{}{}, make(chan struct{}, 1)
}

// tell is called by the journal, from any goroutine.
func (s *shipping) tell(t told) {
	s.toldMu.Lock()
	if !s.deaf {
		s.told = append(s.told, t)
	}
	s.toldMu.Unlock()
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// ship builds the batches of a group and hands them over.
func (u *pump) ship(g *group) {
	u.load(g)
	for i, o := range g.parts {
		s := u.loaded[i]
		if s.Data, s.Err = o.builder.AppendTo(s.Data[:0], batch.NoProducer); s.Err != nil {
			u.acc.cfg.Logger.Error("batch can't be built", "partition", o.partition.id, "error", s.Err)
		}
	}
	u.depart(g)
	for _, s := range u.loaded {
		switch {
		case s.Err != nil:
			s.BaseOffset = -1
			u.tell(told{s, done})
			continue
		case s.Acks == metadata.AcksNone:
			u.tell(told{s, taken})
		}
		u.batches = append(u.batches, &s.Batch)
	}
	if len(u.batches) > 0 {
		u.acc.cfg.Journal.Submit(u.batches)
	}
	clear(u.batches)
	clear(u.loaded)
	u.batches, u.loaded = u.batches[:0], u.loaded[:0]
}

// load moves the waiters of a group's parts to the batches they become.
func (u *pump) load(g *group) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, o := range g.parts {
		s := u.newSent()
		s.partition, s.bytes = o.partition, o.bytes+batchOverhead
		s.Partition, s.Acks, s.Records = o.partition.id, o.partition.config.Acks, len(o.waiters)
		s.waiters, o.waiters = o.waiters, s.waiters
		u.held += batchOverhead
		u.shipped++
		s.number = u.shipped
		u.unanswered[s] = struct{}{}
		u.loaded = append(u.loaded, s)
	}
}

func (u *pump) newSent() *sent {
	if n := len(u.freeSent); n > 0 {
		s := u.freeSent[n-1]
		u.freeSent = u.freeSent[:n-1]
		return s
	}
	s := &sent{}
	s.Held = func(*Batch) { u.tell(told{s, held}) }
	s.Done = func(*Batch) { u.tell(told{s, done}) }
	return s
}

// depart gives the parts back and counts what the group waits for.
func (u *pump) depart(g *group) {
	u.mu.Lock()
	defer u.mu.Unlock()
	g.submitted, g.counted = time.Now(), 0
	g.sent = append(g.sent[:0], u.loaded...)
	for i, o := range g.parts {
		u.release(o)
		s := g.sent[i]
		if s.partition.late > 0 {
			s.partition.late++
			continue
		}
		s.group = g
		g.counted++
	}
	if g.counted == 0 { // all are of partitions that nobody waits for
		u.leave(g)
		return
	}
	u.groups = append(u.groups, g)
	select {
	case u.signal <- struct{}{}: // it has a time to detach
	default:
	}
}

// leave ends the wait for a group.
func (u *pump) leave(g *group) {
	clear(g.sent)
	u.retire(g)
	u.poke()
}
