package ingest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
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

// answer tells waiters what the journal says, in its order, until the sealer
// has ended and all is answered or closeWait has passed.
func (u *pump) answer() {
	defer u.acc.wg.Done()
	timer := time.NewTimer(idleWait)
	defer timer.Stop()
	var closing <-chan time.Time
	sealed := u.done
	for {
		wait, left := u.tally()
		if sealed == nil && left == 0 {
			break
		}
		timer.Reset(wait)
		select {
		case <-u.signal:
		case <-timer.C:
		case <-sealed:
			sealed, closing = nil, time.After(closeWait)
		case <-closing:
			u.giveUp()
		}
	}
	u.toldMu.Lock()
	u.deaf = true
	u.toldMu.Unlock()
}

// tally works off what was told, detaches what is late, and returns how long
// that can wait and how many batches have no answer.
func (u *pump) tally() (wait time.Duration, left int) {
	u.toldMu.Lock()
	all := u.told
	u.told, u.spare = u.spare[:0], nil
	u.toldMu.Unlock()
	for _, t := range all {
		switch t.what {
		case taken:
			u.completeAll(t.s, -1, nil)
		case done:
			u.answered(t.s)
		}
	}
	u.flush()

	u.mu.Lock()
	defer u.mu.Unlock()
	for _, t := range all {
		u.account(t)
	}
	clear(all)
	u.toldMu.Lock()
	u.spare = all
	u.toldMu.Unlock()
	if len(all) > 0 {
		u.giveRoom()
	}
	return u.detach(time.Now()), len(u.unanswered)
}

// answered tells a batch's waiters what the journal said.
func (u *pump) answered(s *sent) {
	err := journalCause(s.Err)
	if err != nil && len(s.waiters) > 0 && !errors.Is(err, ErrFull) {
		u.acc.cfg.Logger.Error("records not stored", "partition", s.Partition, "records", len(s.waiters), "error", err)
	}
	u.completeAll(s, s.BaseOffset, err)
}

func (u *pump) completeAll(s *sent, base int64, err error) {
	offset := int64(-1)
	for i, w := range s.waiters {
		if base >= 0 {
			offset = base + int64(i)
		}
		if w.c != nil && w.c.Complete(w.seq, offset, err) {
			u.flushes = append(u.flushes, w.c)
		}
	}
	clear(s.waiters)
	s.waiters = s.waiters[:0]
}

func (u *pump) flush() {
	for i, c := range u.flushes {
		c.Flush()
		u.flushes[i] = nil
	}
	u.flushes = u.flushes[:0]
}

// account books what was told of a batch.
func (u *pump) account(t told) {
	s := t.s
	if _, ok := u.unanswered[s]; !ok || t.what == taken {
		return // answered by giveUp meanwhile
	}
	u.held -= s.bytes
	s.bytes = 0
	switch {
	case t.what == held:
		s.held = len(s.waiters)
		u.heldRecords += s.held
		s.Data = nil
		if g := s.group; g != nil {
			s.group = nil
			s.partition.late++
			u.uncount(g)
		}
	case s.group != nil:
		u.uncount(s.group)
	default:
		s.partition.late--
	}
	if t.what == done {
		u.heldRecords -= s.held
		delete(u.unanswered, s)
		u.recycle(s)
	}
}

// uncount notes that a group waits for one batch less.
func (u *pump) uncount(g *group) {
	if g.counted--; g.counted > 0 {
		return
	}
	now := time.Now()
	u.company.ended(g.records+u.records, now.Sub(g.submitted), now)
	for i, x := range u.groups {
		if x == g {
			u.groups = append(u.groups[:i], u.groups[i+1:]...)
			break
		}
	}
	u.leave(g)
}

// detach stops waiting for groups that take too long, and returns when to look
// again.
func (u *pump) detach(now time.Time) time.Duration {
	for len(u.groups) > 0 {
		g := u.groups[0]
		if wait := g.submitted.Add(detachAfter).Sub(now); wait > 0 {
			return wait
		}
		for _, s := range g.sent {
			if s.group == g {
				s.group = nil
				s.partition.late++
			}
		}
		g.counted = 1
		u.uncount(g)
	}
	return idleWait
}

func (u *pump) recycle(s *sent) {
	if cap(s.Data) > partDataKeep {
		s.Data = nil
	}
	if cap(s.waiters) > waitersKeep {
		s.waiters = nil
	}
	s.partition, s.group, s.held = nil, nil, 0
	s.BaseOffset, s.Err = 0, nil
	if len(u.freeSent) < freePartsMax {
		u.freeSent = append(u.freeSent, s)
	}
}

// giveUp answers what the journal has not: the gateway is stopping. What it
// says later is not heard.
func (u *pump) giveUp() {
	u.mu.Lock()
	all := slices.SortedFunc(maps.Keys(u.unanswered), func(a, b *sent) int { return cmp.Compare(a.number, b.number) })
	for _, s := range all {
		u.held -= s.bytes
	}
	clear(u.unanswered)
	u.mu.Unlock()
	for _, s := range all {
		u.completeAll(s, -1, fmt.Errorf("%s: not confirmed before the gateway stopped: %w", s.partition.id, ErrUnavailable))
	}
	u.flush()
}

// journalCause makes sure that an error is one of this package's.
func journalCause(err error) error {
	for _, ours := range []error{nil, ErrFull, ErrTooLarge, ErrUnavailable, ErrUnknownPartition} {
		if errors.Is(err, ours) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
