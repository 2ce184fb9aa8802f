package shape

import (
	"time"

	"cistern/segstore/batch"
)

// aheadMax is how far in the future a corrected time may lie. What lies farther
// was not corrected but spoilt: a boot's time that was learned wrong.
const aheadMax = time.Minute

// fate is what becomes of the times of a batch.
type fate int

const (
	asTaken   fate = iota // the clock was set
	corrected             // it was not, but is known now
	unknown               // nobody knows when that boot was
	ahead                 // they would lie in the future
	fates
)

// times counts batches by their fate.
type times [fates]int64

// correct sets the times of one batch right, whose records were taken before
// their gateway's clock was set. The records are not touched: they carry their
// distance to the header's base timestamp.
func (s *Shaper) correct(p Piece, scratch []byte) (Piece, error) {
	shift, fate := s.firstShift(p.Bytes, &p.Header)
	var t times
	t[fate]++
	s.settle(&t, &p.Header)
	if shift == 0 {
		return p, nil
	}
	b, err := move(scratch[:0], p.Bytes, &p.Header, shift)
	if err != nil {
		return Piece{}, err
	}
	p.Bytes, p.Copied = b, true
	p.Header, err = batch.ParseHeader(b)
	return p, err
}

// firstShift decodes the first record of b for shiftOf. A batch that can't be
// decoded moves by nothing: upstream finds out what is wrong with it.
func (s *Shaper) firstShift(b []byte, h *batch.Header) (int64, fate) {
	w := s.tools.take()
	defer s.tools.giveBack(w)
	if w.reader.Reset(b, sectionBytesMax) != nil || w.reader.Next(&w.raw) != nil {
		return 0, unknown
	}
	return s.shiftOf(&w.raw, h)
}

// shiftOf returns by how much the times of a batch are wrong, as far as that is
// known. first is its first record; the gateway that made the batch saw to it
// that all its records are wrong by the same.
func (s *Shaper) shiftOf(first *batch.Raw, h *batch.Header) (int64, fate) {
	if !h.ClockUnset() {
		return 0, asTaken
	}
	value, _ := first.Header(batch.HeaderClock)
	boot, monotonic, ok := batch.ParseClockMark(value)
	if !ok {
		return 0, unknown
	}
	bootAt, ok := s.cfg.BootAt(string(boot))
	if !ok {
		return 0, unknown
	}
	shift := bootAt + monotonic - first.Timestamp
	// A clock that shows a time before that boot is unset itself, and says nothing
	// about the future.
	now := s.cfg.Now().UnixMilli()
	if now >= bootAt && h.MaxTimestamp+shift > now+aheadMax.Milliseconds() {
		return 0, ahead
	}
	return shift, corrected
}

// settle counts what was done about times, and says once what could not be.
func (s *Shaper) settle(t *times, h *batch.Header) {
	s.count.corrected.Add(t[corrected])
	if s.count.unknown.Add(t[unknown]) == t[unknown] && t[unknown] > 0 {
		s.cfg.Logger.Warn("records taken before the clock was set leave with the times it showed: nobody knows when that boot was",
			"first_offset", h.BaseOffset, "last_offset", h.LastOffset(), "first_time_ms", h.BaseTimestamp)
	}
	if s.count.ahead.Add(t[ahead]) == t[ahead] && t[ahead] > 0 {
		s.cfg.Logger.Warn("records taken before the clock was set leave with the times it showed: corrected ones would lie in the future",
			"first_offset", h.BaseOffset, "last_offset", h.LastOffset(), "first_time_ms", h.BaseTimestamp)
	}
}
