package shape

import (
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// Rebatch says how small batches are merged.
type Rebatch struct {
	// Bytes is the largest merged batch, before compression and therefore also
	// after; at most metadata.BatchBytesMax. 0: BytesDefault.
	Bytes int
	// Level is the level of zstd, as its own command counts them; 0: LevelDefault.
	// From batch.LevelBest on it takes 35 MB for each of WorkersMax.
	Level int
	// Linger is how long a record may wait for others to be merged with.
	Linger time.Duration
}

// Limits and defaults of merging.
const (
	BytesDefault = 256 << 10
	BytesMin     = 4 << 10
	LevelDefault = 6
	RecordsMax   = 32 << 10 // of a merged batch

	// A batch of this part of Rebatch.Bytes goes as it is: merging it would cost
	// CPU and gain little.
	largeShare = 2
)

// checked returns a copy within the limits.
func (r *Rebatch) checked() *Rebatch {
	c := *r
	if c.Bytes == 0 {
		c.Bytes = BytesDefault
	}
	if c.Level == 0 {
		c.Level = LevelDefault
	}
	c.Bytes = min(max(c.Bytes, BytesMin), metadata.BatchBytesMax)
	c.Level = min(max(c.Level, 1), batch.LevelMax)
	return &c
}

// span returns how many batches at the start of run may be merged, by what their
// headers say, and whether no more could join them, whatever follows.
//
// Batches of two leader epochs are never merged, since a piece has one: what
// upstream has of an epoch that the site gave up is found by it. Nor are those of
// a set and an unset clock: upstream may refuse the one for its times, and should
// not refuse the other with it.
func (s *Shaper) span(run []byte) (n int, closed bool) {
	r := s.cfg.Rebatch
	if r == nil {
		return 1, true
	}
	var first batch.Header
	next, records, size := int64(0), int32(0), batch.HeaderLen
	for len(run) > 0 {
		b, rest, err := batch.Next(run)
		if err != nil {
			return max(n, 1), true
		}
		h, err := batch.ParseHeader(b)
		if err != nil || h.CheckProduced() != nil {
			return max(n, 1), true
		}
		section := batch.SectionSize(b)
		switch {
		case n == 0:
			first = h
		case h.BaseOffset != next, h.LeaderEpoch != first.LeaderEpoch, h.ClockUnset() != first.ClockUnset(), h.Count > RecordsMax-records:
			return n, true
		}
		large := section >= r.Bytes/largeShare
		if large || size+section > r.Bytes {
			return max(n, 1), true
		}
		n++
		next, records, size, run = h.NextOffset(), records+h.Count, size+section, rest
	}
	if n == 0 {
		return 1, true
	}
	return n, size+size/n > r.Bytes // one more of the same would not fit
}

// Linger says how long to wait for more before a piece is made of run, which is
// all there is at the moment: 0 is not at all. oldest is when the first record
// of run was first seen waiting.
func (s *Shaper) Linger(run []byte, oldest, now time.Time) time.Duration {
	if s == nil || s.cfg.Rebatch == nil || s.cfg.Rebatch.Linger <= 0 || len(run) == 0 {
		return 0
	}
	wait := s.cfg.Rebatch.Linger - now.Sub(oldest)
	if wait <= 0 {
		return 0
	}
	if _, closed := s.span(run); closed {
		return 0
	}
	return min(wait, s.cfg.Rebatch.Linger) // a clock that was set back makes nobody wait longer
}

// Reach is how many stored bytes a piece may be made of: who reads less at once
// gets smaller pieces. 0: one batch.
func (s *Shaper) Reach() int {
	if s == nil || s.cfg.Rebatch == nil {
		return 0
	}
	return s.cfg.Rebatch.Bytes
}
