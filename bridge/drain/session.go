package drain

import (
	"context"
	"fmt"
	"time"

	"cistern/segstore/batch"
)

// session is one partition's work through one lane.
type session struct {
	*partition
	lane    Lane
	next    int64        // first offset that was not sent in this session
	window  int          // batches that may be in flight: 1, or InFlightMax
	flights []flight     // sent and not answered, oldest first
	results chan outcome // has room for every flight
	chunk   *chunk       // read, not all sent; nil: none
	ticket  *ticket      // memory for the next chunk; nil: not asked for
	timer   *time.Timer
	unsaved int // batches acknowledged since the last save
}

// flight is a batch on its way.
type flight struct {
	first   int64
	next    int64 // offset behind it
	bytes   int
	records int32
	alone   bool // nothing else was in flight when it left
	chunk   *chunk
}

// outcome is what became of the oldest flight.
type outcome struct {
	upstream int64
	err      error
}

func (s *session) run(ctx context.Context) error {
	moved, cancel := s.log.Watch()
	defer cancel()
	if err := s.await(ctx, moved); err != nil {
		return err
	}
	for {
		if err := s.fill(); err != nil {
			return err
		}
		s.tell()
		select {
		case <-ctx.Done():
			s.finish()
			return ctx.Err()
		case o := <-s.results:
			if err := s.land(ctx, o); err != nil {
				if ctx.Err() != nil {
					s.saveAtStop(false)
				}
				return err
			}
		case <-moved:
		case <-s.memory():
		case <-s.timer.C:
			s.housekeep()
		}
	}
}

// await waits until the high watermark has reached what is upstream already. A
// new leader's stands lower than its predecessor's for a moment; a log that ends
// below is another log.
func (s *session) await(ctx context.Context, moved <-chan struct{}) error {
	for s.next > s.log.HighWatermark() {
		if end := s.log.EndOffset(); s.next > end {
			return &Error{Verdict: Denied, Err: fmt.Errorf("records up to offset %d are upstream, but the log ends at %d: it was replaced or cut back", s.next, end)}
		}
		s.say(StateIdle, "")
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (s *session) tell() {
	if len(s.flights) > 0 || s.next < s.log.HighWatermark() {
		s.say(StateDraining, "")
	} else {
		s.say(StateIdle, "")
	}
	s.publish(len(s.flights))
}

// memory returns what to wait for when a chunk's memory was asked for.
func (s *session) memory() <-chan struct{} {
	if s.ticket == nil || s.ticket.isGranted() {
		return nil // granted: fill waits for something else
	}
	return s.ticket.granted
}

// fill sends batches until the window is full or there is nothing to send. It
// fails only while nothing is in flight.
func (s *session) fill() error {
	for len(s.flights) < s.window {
		b, h, err := s.front()
		if len(s.flights) > 0 && (err != nil || h.BaseOffset > s.next) {
			return nil // looked at again when all before it is known
		}
		if err != nil || b == nil {
			return err
		}
		if h.BaseOffset > s.next {
			if err := s.gap(h.BaseOffset, "the log does not hold them"); err != nil {
				return err
			}
		}
		if err := s.commit(); err != nil {
			return err
		}
		s.send(b, &h)
	}
	return nil
}

// commit makes durable what has to be before a batch leaves.
func (s *session) commit() error {
	if len(s.flights) == 0 && s.silent() {
		s.how.Relocate = true
		return fmt.Errorf("nothing was sent for %s: looking up the position before going on", SilenceMax)
	}
	s.cursor.InDoubt = true
	if s.doubted && s.durable == s.cursor.identity() {
		return nil
	}
	return s.saveSync()
}

// silent reports whether upstream may have forgotten the producer meanwhile.
// A session that has just looked need not look again.
func (s *session) silent() bool {
	last := time.UnixMilli(s.cursor.AckedAt)
	return s.window == InFlightMax && s.d.cfg.Now().Sub(last) > SilenceMax
}

func (s *session) send(b []byte, h *batch.Header) {
	f := flight{
		first:   h.BaseOffset,
		next:    h.NextOffset(),
		bytes:   len(b),
		records: h.Count,
		alone:   len(s.flights) == 0,
		chunk:   s.chunk,
	}
	s.flights = append(s.flights, f)
	s.chunk.rest = s.chunk.rest[len(b):]
	s.chunk.out++
	s.next = f.next
	results := s.results
	s.lane.Send(b, h, s.cursor.Sequence(f.first), func(upstream int64, err error) {
		results <- outcome{upstream, err}
	})
	if len(s.chunk.rest) == 0 {
		s.chunk = nil // its flights keep it
	}
}

// land takes the answer to the oldest flight.
func (s *session) land(ctx context.Context, o outcome) error {
	f := s.pop()
	if o.err != nil {
		return s.fallen(ctx, f, o.err)
	}
	s.landed(f, o.upstream)
	return nil
}

// landed moves the cursor behind a batch that was acknowledged.
func (s *session) landed(f flight, upstream int64) {
	now := s.d.cfg.Now()
	s.cursor.Position = f.next
	s.cursor.AckedAt = now.UnixMilli()
	if upstream >= 0 {
		s.cursor.Upstream = upstream
	}
	s.d.meter.add(now, int64(f.records), int64(f.bytes))
	s.window = InFlightMax
	s.backoff.Reset()
	s.contradicted, s.suspect, s.refusedRun = -1, suspect{offset: -1}, 0
	if s.unsaved == 0 {
		s.timer.Reset(SaveInterval)
	}
	if s.unsaved++; s.unsaved >= SaveEvery {
		s.save()
	}
}

// pop removes the oldest flight and settles its memory.
func (s *session) pop() flight {
	f := s.flights[0]
	s.flights = s.flights[1:]
	f.chunk.out--
	f.chunk.settle()
	return f
}

// close gives memory back. Flights that are still out leave theirs behind.
func (s *session) close() {
	s.timer.Stop()
	for _, f := range s.flights {
		f.chunk.abandon()
	}
	if s.chunk != nil {
		s.chunk.abandon()
	}
	if s.ticket != nil {
		s.ticket.release()
	}
}
