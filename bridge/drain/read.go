package drain

import (
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
		start, hw := s.log.StartOffset(), s.log.HighWatermark()
		if start > s.next && len(s.flights) == 0 {
			if err := s.gap(start, "retention has given them up"); err != nil {
				return false, err
			}
		}
		if s.next >= hw {
			return false, nil
		}
		if s.ticket == nil {
			s.ticket = s.d.budget.ask(metadata.BatchBytesMax)
		}
		if !s.ticket.isGranted() {
			return false, nil
		}
		buf, err := s.log.Read(s.next, s.d.pool.get(), ChunkBytes)
		if err == nil && len(buf) > 0 {
			s.chunk = newChunk(buf, s.ticket, &s.d.pool)
			s.ticket = nil
			return true, nil
		}
		s.d.pool.put(buf)
		if err == nil {
			return false, nil
		}
		if err := s.unreadable(err); err != nil {
			return false, err
		}
	}
}

// unreadable looks at a failed read; nil means that reading may go on.
func (s *session) unreadable(err error) error {
	if errors.Is(err, segstore.ErrOffsetOutOfRange) && s.log.StartOffset() > s.next && len(s.flights) == 0 {
		return nil // retention was faster: read sees the gap
	}
	lost, ok := errors.AsType[*segstore.CorruptError](err)
	if !ok || len(s.flights) > 0 {
		return fmt.Errorf("reading the log at offset %d: %w", s.next, err)
	}
	if lost.LastOffset < s.next || lost.LastOffset >= s.log.HighWatermark() {
		return &Error{Verdict: Denied, Err: fmt.Errorf("reading the log at offset %d: %w", s.next, err)}
	}
	return s.gap(lost.LastOffset+1, err.Error())
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
		return raw, s.log.HighWatermark(), nil
	}
	following, err := batch.ParseHeader(rest)
	if err != nil || following.BaseOffset <= offset {
		return nil, 0, fmt.Errorf("the batch at offset %d is damaged, and where the next one begins can't be told", offset)
	}
	return raw, following.BaseOffset, nil
}
