package drain

import (
	"context"
	"fmt"

	"cistern/segstore/batch"
)

// fallen deals with the first batch that failed: f was taken out of flight
// already. Answers that are still due are waited for, since what was sent behind
// a failed batch is settled only then; all of it is sent again, and the broker
// recognises what it has. nil means that the session goes on.
func (s *session) fallen(ctx context.Context, f flight, failure error) error {
	s.resent += int64(len(s.flights)) + 1
	for len(s.flights) > 0 {
		select {
		case <-s.results:
			s.pop()
		case <-ctx.Done():
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
	if s.chunk != nil {
		s.chunk.rest = nil
		s.chunk.settle()
		s.chunk = nil
	}
	s.next = s.cursor.Position
	s.window = 1
}

// refused wants proof that f is the cause: it has to be refused again, alone.
func (s *session) refused(f flight, failure error) error {
	if !f.alone || s.suspect.offset != f.first {
		s.suspect = suspect{f.first, reasonOf(failure)}
		s.logger.Warn("batch refused upstream, sending it again alone", "offset", f.first, "error", failure)
		return nil
	}
	if s.refusedRun >= RefusedRunMax {
		return &Error{Verdict: Denied, Err: fmt.Errorf("%d batches in a row were refused for good and set aside: that is no accident, check the topic's configuration; nothing more is set aside: %w", s.refusedRun, failure)}
	}
	return s.setAside(f.first, reasonOf(failure), failure)
}

// corrupt asks the stored bytes who is right. A batch whose own checksum fails
// was damaged on flash, and the broker was right to refuse it. One that is good
// here was damaged on the way: it is never given up.
func (s *session) corrupt(f flight, failure error) error {
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
	s.cursor.Quarantined.add(next - offset)
	if err := s.move(before, next); err != nil {
		return err
	}
	s.refusedRun++
	s.suspect = suspect{offset: -1}
	s.rewind()
	s.logger.Error("batch set aside: upstream never takes it", "first", offset, "last", next-1, "reason", reason, "error", cause)
	return nil
}

// gap moves the cursor past records that can't be sent because they are gone.
func (s *session) gap(to int64, why string) error {
	before := s.cursor
	s.cursor.Gaps.add(to - s.cursor.Position)
	if err := s.move(before, to); err != nil {
		return err
	}
	s.next = to
	s.logger.Error("records lost before they were drained", "first", before.Position, "last", to-1, "reason", why)
	return nil
}

// move skips to an offset, durably, or leaves the cursor as it was before.
// Nothing is in flight.
func (s *session) move(before Cursor, to int64) error {
	s.cursor.skip(to)
	if err := s.saveSync(); err != nil {
		s.cursor = before
		return err
	}
	s.publish(0)
	return nil
}
