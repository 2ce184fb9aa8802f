package ingest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

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
