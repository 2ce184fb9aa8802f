package drain

import (
	"errors"
	"fmt"
	"time"

	"cistern/bridge/drain/shape"
	"cistern/segstore/batch"
)

// LingerLook is how often a flow that waits for more to be merged with looks how
// much there is.
const LingerLook = 250 * time.Millisecond

// lingering is the wait for more to be merged with. It holds no memory.
type lingering struct {
	until  time.Time
	oldest time.Time // when what goes next was first seen; zero: not yet
	timer  *time.Timer
}

// sent notes that a piece of c has left. What is left of c was seen with it.
func (l *lingering) sent(c *chunk) {
	l.oldest = time.Time{}
	if len(c.rest) > 0 {
		l.oldest = c.seen
	}
}

// parcel is what goes next.
type parcel struct {
	bytes   []byte
	header  batch.Header // of bytes
	next    int64        // offset behind it
	epoch   int32        // the highest leader epoch in it
	used    int          // bytes of the chunk that are in it
	merged  bool         // of more than one stored batch
	retimed bool
	memory  *chunk // where bytes lie
}

// errAgain: something has changed, what goes next is to be looked for anew.
var errAgain = errors.New("again")

// prepare makes what goes next. It returns false when there is nothing yet.
func (s *session) prepare() (bool, error) {
	for {
		ok, err := s.tryPrepare()
		if err != errAgain {
			return ok, err
		}
	}
}

func (s *session) tryPrepare() (bool, error) {
	if time.Now().Before(s.linger.until) || s.mending.waits() {
		return false, nil
	}
	b, h, err := s.front()
	if err == errMending {
		return false, nil
	}
	if len(s.flights) > 0 && (err != nil || h.BaseOffset > s.next) {
		return false, nil // looked at again when all before it is known
	}
	if err != nil || b == nil {
		return false, err
	}
	if h.BaseOffset > s.next {
		if err := s.gap(h.BaseOffset, "the log does not hold them"); err != nil {
			return false, err
		}
	}
	if s.d.cfg.Shaper == nil && !s.traits.Identified && s.retime != h.BaseOffset {
		s.ready = s.verbatim(b, h)
		return true, nil
	}
	return s.shape(b, h)
}

func (s *session) verbatim(b []byte, h batch.Header) *parcel {
	return &parcel{bytes: b, header: h, next: h.NextOffset(), epoch: h.LeaderEpoch, used: len(b), memory: s.chunk}
}

// shape makes a piece of what was read.
func (s *session) shape(b []byte, h batch.Header) (bool, error) {
	run := s.chunk.rest
	if h.BaseOffset < s.single {
		run = b
	} else if end := s.highWatermark(); s.readsAgain(end) {
		return false, errAgain
	} else if s.lingers(end) {
		return false, nil
	}
	if len(s.flights) > 0 && s.d.budget.exceeded() {
		return false, nil // what pieces take is known only when they are made
	}
	scratch := s.d.pool.get()
	piece, err := s.d.cfg.Shaper.Next(run, scratch, s.options)
	if err != nil {
		s.d.pool.put(scratch)
		return s.unshapely(err)
	}
	p := s.verbatim(piece.Bytes, piece.Header)
	if err := p.measure(run, piece.Used); err != nil {
		s.d.pool.put(scratch)
		return false, &Error{Verdict: Denied, Err: fmt.Errorf("making a batch of those from offset %d on: %w", h.BaseOffset, err)}
	}
	switch {
	case s.retime == h.BaseOffset:
		if piece.Copied {
			scratch = nil // the piece lies there
		}
		err = s.moveTime(p, scratch)
	case piece.Copied:
		p.memory = s.made(p.bytes)
	default:
		s.d.pool.put(scratch)
	}
	if err == nil {
		s.ready = p
	}
	return err == nil, err
}

// readsAgain forgets the end of what was read when there is more behind it in
// the log, up to end: together they make a larger piece.
func (s *session) readsAgain(end int64) bool {
	c := s.chunk
	if len(c.rest) == len(c.buf) || len(c.rest) >= s.d.cfg.Shaper.Reach() || c.next >= end {
		return false
	}
	s.drop()
	return true
}

// lingers forgets what was read when it is all up to end, and more is soon to
// come.
func (s *session) lingers(end int64) bool {
	if s.kind == Backfill || s.chunk.next < end {
		return false
	}
	if s.linger.oldest.IsZero() {
		s.linger.oldest = s.chunk.seen
	}
	now := time.Now()
	wait := s.d.cfg.Shaper.Linger(s.chunk.rest, s.linger.oldest, now)
	if wait <= 0 {
		return false
	}
	wait = min(wait, LingerLook)
	s.linger.until = now.Add(wait)
	s.linger.timer.Reset(wait)
	s.drop()
	return true
}

// measure checks that a piece holds whole stored batches of run, and notes which.
func (p *parcel) measure(run []byte, used int) error {
	if used > len(run) {
		return errors.New("it is longer than what was read")
	}
	next, count := p.header.BaseOffset, 0
	for rest := run[:used]; len(rest) > 0; count++ {
		b, r, err := batch.Next(rest)
		if err != nil {
			return err
		}
		h, err := batch.ParseHeader(b)
		if err != nil {
			return err
		}
		if h.BaseOffset != next {
			return fmt.Errorf("it begins at offset %d, the log at %d", next, h.BaseOffset)
		}
		next, p.epoch, rest = h.NextOffset(), max(p.epoch, h.LeaderEpoch), r
	}
	if count == 0 || p.header.NextOffset() != next {
		return fmt.Errorf("it ends at offset %d, the log at %d", p.header.NextOffset(), next)
	}
	p.next, p.used, p.merged = next, used, count > 1
	return nil
}

// moveTime gives a batch that was refused for its timestamps the time of now.
func (s *session) moveTime(p *parcel, scratch []byte) error {
	b, err := shape.Retime(scratch, p.bytes, s.d.cfg.Now().UnixMilli())
	if err == nil {
		p.header, err = batch.ParseHeader(b)
	}
	if err != nil {
		return &Error{Verdict: Denied, Err: fmt.Errorf("moving the time of the batch at offset %d: %w", p.header.BaseOffset, err)}
	}
	p.bytes, p.retimed, p.memory = b, true, s.made(b)
	return nil
}

// made accounts for memory that a piece took. The budget may be exceeded by it,
// by one piece for each flow.
func (s *session) made(b []byte) *chunk {
	return &chunk{buf: b, ticket: s.d.budget.take(cap(b)), pool: &s.d.pool}
}

// unmake forgets what was made and not sent.
func (s *session) unmake() {
	if p := s.ready; p != nil && p.memory != s.chunk {
		p.memory.settle()
	}
	s.ready = nil
}

// unshapely deals with batches that can't be read. While others are in flight it
// waits for them.
func (s *session) unshapely(err error) (bool, error) {
	if len(s.flights) > 0 {
		return false, nil
	}
	if _, ok := errors.AsType[*shape.DamageError](err); !ok {
		return false, &Error{Verdict: Denied, Err: fmt.Errorf("making a batch of the one at offset %d: %w", s.next, err)}
	}
	if err := s.setAside(s.next, damagedOnFlash, err); err != nil {
		return false, err
	}
	return false, errAgain
}
