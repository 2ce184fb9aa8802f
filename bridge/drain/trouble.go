package drain

import (
	"context"
	"fmt"
	"time"

	"cistern/segstore/batch"
)

// fallen deals with the first batch that failed: f was taken out of flight
// already. Answers that are still due are waited for, since what was sent behind
// a failed batch is settled only then; all of it is sent again, and the broker
// recognises what it has. nil means that the session goes on.
func (s *session) fallen(ctx context.Context, f flight, failure error) error {
	s.resent.Add(int64(len(s.flights)) + 1)
	if VerdictOf(failure) == Retry {
		s.unanswered()
	}
	for len(s.flights) > 0 {
		select {
		case o := <-s.results:
			s.pop(o)
		case <-s.outer.Done():
			s.unanswered()
			return ctx.Err()
		}
	}
	s.rewind()
	switch VerdictOf(failure) {
	case Refused:
		return s.refused(f, failure)
	case Corrupt:
		return s.corrupt(f, failure)
	}
	return failure
}

// rewind goes back to the oldest batch that was not acknowledged, alone.
func (s *session) rewind() {
	s.drop()
	s.linger.until = time.Time{}
	s.next = s.cursor.Position
	s.proven = false
}

// oneByOne has the stored batches of a piece sent each for itself, so that what
// upstream says is said of one of them.
func (s *session) oneByOne(f flight, failure error) error {
	s.single = f.next
	s.logger.Warn("merged batch refused upstream, sending its parts", "first", f.first, "last", f.next-1, "error", failure)
	return nil
}

// refused wants proof that f is the cause: it has to be refused again, alone.
func (s *session) refused(f flight, failure error) error {
	if f.merged {
		return s.oneByOne(f, failure)
	}
	if !f.alone || s.suspect.offset != f.first {
		s.suspect = suspect{f.first, reasonOf(failure)}
		s.logger.Warn("batch refused upstream, sending it again alone", "offset", f.first, "error", failure)
		return nil
	}
	if s.refusedRun >= RefusedRunMax {
		return &Error{Verdict: Denied, Err: fmt.Errorf("%d batches in a row were refused for good and set aside: that is no accident, check the topic's configuration; nothing more is set aside: %w", s.refusedRun, failure)}
	}
	if reasonOf(failure) == invalidTimestamp && !f.retimed {
		s.retime, s.single = f.first, f.next
		s.logger.Warn("batch refused for its timestamps, sending it as if it were of now", "first", f.first, "last", f.next-1, "error", failure)
		return nil
	}
	return s.setAside(f.first, reasonOf(failure), failure)
}

// invalidTimestamp is Kafka's name for timestamps that a topic does not take.
const invalidTimestamp = "INVALID_TIMESTAMP"

// countRetimed counts a batch that upstream took with another time.
func (s *session) countRetimed(f flight) {
	s.retime = -1
	s.mu.Lock()
	s.counts.Retimed.add(one(f.next-f.first), 1)
	s.mu.Unlock()
	s.logger.Warn("batch sent with other timestamps: upstream takes its own never", "first", f.first, "last", f.next-1)
}

// corrupt asks the stored bytes who is right. A batch whose own checksum fails
// was damaged on flash, and the broker was right to refuse it. One that is good
// here was damaged on the way: it is never given up.
func (s *session) corrupt(f flight, failure error) error {
	if f.merged {
		return s.oneByOne(f, failure)
	}
	raw, _, err := s.stored(f.first)
	if err != nil {
		return &Error{Verdict: Denied, Err: err}
	}
	if _, err := batch.Verify(raw); err != nil {
		return s.setAside(f.first, damagedOnFlash, err)
	}
	return fmt.Errorf("upstream calls the batch at offset %d damaged, but it is good here: something on the way changes data: %w", f.first, failure)
}

// setAside quarantines the batch at the cursor and moves the cursor past it.
// Both are durable before anything behind it is sent; a crash in between sets
// the same batch aside once more.
func (s *session) setAside(offset int64, reason string, cause error) error {
	if err := s.mayMove(); err != nil {
		return err
	}
	raw, next, err := s.stored(offset)
	if err != nil {
		return &Error{Verdict: Denied, Err: err}
	}
	err = s.d.cfg.Quarantine.Add(Poison{
		Partition:   s.id,
		FirstOffset: offset,
		LastOffset:  next - 1,
		Reason:      reason,
		Detail:      cause.Error(),
		Time:        s.d.cfg.Now(),
		Batch:       raw,
	})
	if err != nil {
		return &Error{Verdict: Denied, Err: fmt.Errorf("batch of offsets %d to %d is refused (%s) and can't be set aside: %w", offset, next-1, reason, err)}
	}
	before := s.cursor
	if err := s.move(before, next, Tallies{Quarantined: one(next - offset)}); err != nil {
		return err
	}
	s.refusedRun++
	s.suspect, s.retime = suspect{offset: -1}, -1
	s.rewind()
	s.logger.Error("batch set aside: upstream never takes it", "first", offset, "last", next-1, "reason", reason, "error", cause)
	return nil
}

// mayMove is flow's, where numbers are at stake at all.
func (s *session) mayMove() error {
	if s.traits.Unnumbered {
		return nil
	}
	return s.flow.mayMove()
}

// gap moves the cursor past records that can't be sent because they are gone.
func (s *session) gap(to int64, why string) error {
	if err := s.mayMove(); err != nil {
		return err
	}
	before := s.cursor
	if err := s.move(before, to, Tallies{Gaps: one(to - before.Position)}); err != nil {
		return err
	}
	s.next = to
	s.logger.Error("records lost before they were drained", "first", before.Position, "last", to-1, "reason", why)
	return nil
}

// move skips to an offset, durably, or leaves the cursor as it was before.
// Nothing is in flight.
func (s *session) move(before Cursor, to int64, counted Tallies) error {
	s.cursor.skip(to)
	s.cursor.LogEpoch = max(s.cursor.LogEpoch, s.logEpoch())
	if err := s.saveSync(counted); err != nil {
		s.cursor = before
		return err
	}
	s.publish(0)
	return nil
}
