package drain

import (
	"bytes"
	"errors"
	"fmt"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// damagedOnFlash is the reason of batches whose stored bytes fail their checks.
const damagedOnFlash = "DAMAGED_ON_FLASH"

// front returns the next batch to send and its header, nil when there is none
// at the moment.
func (s *session) front() (b []byte, h batch.Header, err error) {
	for {
		if s.chunk == nil {
			if more, err := s.read(); !more || err != nil {
				return nil, h, err
			}
		}
		if b, _, err = batch.Next(s.chunk.rest); err == nil {
			if h, err = batch.ParseHeader(b); err == nil {
				err = h.CheckProduced()
			}
		}
		switch {
		case err == nil && h.BaseOffset >= s.next:
			return b, h, nil
		case err == nil:
			return nil, h, &Error{Verdict: Denied, Err: fmt.Errorf("offset %d lies inside the batch of offsets %d to %d: what upstream has was not sent from this log", s.next, h.BaseOffset, h.LastOffset())}
		case len(s.flights) > 0:
			return nil, h, err
		}
		if err := s.setAside(s.next, damagedOnFlash, err); err != nil {
			return nil, h, err
		}
	}
}

// read reads the next chunk. It returns false when there is nothing to read
// yet, or no memory for it.
func (s *session) read() (bool, error) {
	for {
		start, hw := s.log.StartOffset(), s.highWatermark()
		if start > s.next && len(s.flights) == 0 {
			if err := s.gap(min(start, s.end), "retention has given them up"); err != nil {
				return false, err
			}
		}
		if s.next >= hw {
			return false, nil
		}
		if s.ticket == nil {
			s.ticket = s.d.budget.ask(s.kind, metadata.BatchBytesMax)
		}
		if !s.ticket.isGranted() {
			return false, nil
		}
		room := s.d.pool.fitting(s.large)
		buf, err := s.log.Read(s.next, room, s.d.pool.size)
		if cap(buf) != cap(room) {
			s.d.pool.put(room) // it was too small
		}
		whole := len(buf)
		s.large = whole
		if s.kind == Backfill && err == nil {
			buf = cut(buf, s.end)
		}
		if err == nil && len(buf) > 0 {
			s.chunk = newChunk(buf, s.ticket, &s.d.pool)
			s.chunk.next = behind(s.chunk.buf, s.next)
			s.ticket, s.mending.lost = nil, nil
			return true, nil
		}
		s.d.pool.put(buf)
		if err == nil && whole > 0 && len(s.flights) == 0 {
			err = s.gap(s.end, "the log does not hold them")
			return false, err
		}
		if err == nil {
			return false, nil
		}
		if err := s.unreadable(err); err != nil {
			return false, err
		}
	}
}

// cut takes away the batches from offset end on.
func cut(buf []byte, end int64) []byte {
	for rest := buf; len(rest) > 0; {
		if h, err := batch.ParseHeader(rest); err == nil && h.BaseOffset >= end {
			return buf[:len(buf)-len(rest)]
		}
		_, r, err := batch.Next(rest)
		if err != nil {
			break // front sees it
		}
		rest = r
	}
	return buf
}

// behind returns the offset behind the last batch of buf, next if that can't be
// told.
func behind(buf []byte, next int64) int64 {
	for rest := buf; len(rest) > 0; {
		b, r, err := batch.Next(rest)
		if err != nil {
			break
		}
		if len(r) == 0 {
			if h, err := batch.ParseHeader(b); err == nil {
				next = h.NextOffset()
			}
		}
		rest = r
	}
	return next
}

// unreadable looks at a failed read; nil means that reading may go on.
func (s *session) unreadable(err error) error {
	if errors.Is(err, segstore.ErrOffsetOutOfRange) && s.log.StartOffset() > s.next && len(s.flights) == 0 {
		return nil // retention was faster: read sees the gap
	}
	lost, ok := errors.AsType[*segstore.CorruptError](err)
	if ok {
		if again := s.mend(lost); again == nil || again == errMending {
			return again
		}
	}
	if !ok || len(s.flights) > 0 {
		return fmt.Errorf("reading the log at offset %d: %w", s.next, err)
	}
	if lost.LastOffset < s.next || lost.LastOffset >= s.log.HighWatermark() {
		return &Error{Verdict: Denied, Err: fmt.Errorf("reading the log at offset %d: %w", s.next, err)}
	}
	return s.gap(min(lost.LastOffset+1, s.end), err.Error())
}

// stored reads one batch back from the log, and finds where the next one
// begins: a damaged header can't be asked.
func (s *session) stored(offset int64) (raw []byte, next int64, err error) {
	run, err := s.log.Read(offset, nil, 2*metadata.BatchBytesMax)
	if err != nil {
		return nil, 0, err
	}
	raw, rest, err := batch.Next(run)
	if err != nil {
		return nil, 0, fmt.Errorf("the batch at offset %d is damaged, and where it ends can't be told: %w", offset, err)
	}
	if len(rest) == 0 {
		next, err = s.behindLast(raw, offset)
		return raw, next, err
	}
	following, err := batch.ParseHeader(rest)
	if err != nil || following.BaseOffset <= offset {
		return nil, 0, fmt.Errorf("the batch at offset %d is damaged, and where the next one begins can't be told", offset)
	}
	return raw, following.BaseOffset, nil
}

// behindLast returns where the batch at an offset ends behind which nothing could
// be read: it is the last one, or flash has lost what follows.
func (s *session) behindLast(raw []byte, offset int64) (int64, error) {
	if h, err := batch.Verify(raw); err == nil {
		return h.NextOffset(), nil
	}
	hw := s.log.HighWatermark()
	if last, err := s.log.Read(hw-1, nil, 1); err == nil && bytes.Equal(last, raw) {
		return hw, nil
	}
	return 0, fmt.Errorf("the batch at offset %d is damaged, and where it ends can't be told", offset)
}
