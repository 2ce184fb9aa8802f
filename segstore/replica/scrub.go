package replica

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
)

// Limits of scrubbing.
const (
	scrubBytes    = 256 << 10 // read at a time
	scrubPauseMin = 20 * time.Millisecond
	scrubPauseMax = time.Hour // what is kept may grow meanwhile
	scrubWaitsMax = 256       // places that are looked at again; the next round comes upon more
	scrubWaitLook = mendKept / 2
)

// scrubber reads the copies that are kept here, slowly, one after the other and then
// anew, so that what flash lost is found while another copy still has it. It keeps
// nothing: a start begins somewhere, and writes come only from what is mended. What was
// written lately may come from the kernel's cache, and is found a round later.
type scrubber struct {
	m     *Manager
	every time.Duration
	at    place         // the next one
	waits []place       // lost here, and whoever may have them is not in reach
	said  time.Duration // that something is lost for good, last
}

// place is where in a copy something is read.
type place struct {
	id     metadata.PartitionID
	offset int64
}

func (s *scrubber) run(ctx context.Context) {
	if s.every <= 0 {
		return
	}
	s.at = s.anywhere()
	due, again := s.m.now()+s.pause(scrubBytes), time.Duration(0)
	for {
		next := due
		if len(s.waits) > 0 {
			next = min(due, again)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(next - s.m.now()):
		}
		if s.m.now() >= again {
			s.lookAgain()
			again = s.m.now() + scrubWaitLook
		}
		if s.m.now() >= due {
			due = s.m.now() + s.pause(s.look())
		}
	}
}

// pause is how long to wait after reading so much: the share of every that it is of
// all that is kept.
func (s *scrubber) pause(read int64) time.Duration {
	var kept int64
	for _, l := range s.m.all() {
		kept += l.log.Bytes()
	}
	share := min(float64(read)/float64(max(kept, 1)), 1)
	return min(max(time.Duration(share*float64(s.every)), scrubPauseMin), scrubPauseMax)
}

// look reads the next piece, and returns how much that was.
func (s *scrubber) look() (read int64) {
	for range s.ids() {
		at := s.at
		next, read, waits := s.read(at, scrubBytes)
		if waits && len(s.waits) < scrubWaitsMax && !slices.Contains(s.waits, at) {
			s.waits = append(s.waits, at)
		}
		s.at = next
		if next.offset > 0 {
			return read
		}
	}
	return scrubBytes // all are empty
}

// lookAgain reads once more where somebody had to be waited for.
func (s *scrubber) lookAgain() {
	s.waits = slices.DeleteFunc(s.waits, func(p place) bool {
		_, _, waits := s.read(p, 1)
		return !waits
	})
}

// read reads up to so many bytes from a place on, one batch at least, and asks for what
// flash lost there. It returns the place behind it; where nothing is left, offset 0 of
// the next copy.
func (s *scrubber) read(p place, sizeMax int) (next place, read int64, waits bool) {
	l := s.m.local(p.id)
	if l == nil || p.offset >= l.log.HighWatermark() {
		return s.after(p.id), 0, false
	}
	p.offset = max(p.offset, l.log.StartOffset())
	raw, err := l.log.Read(p.offset, nil, sizeMax)
	read = int64(len(raw))
	s.m.counts.scrubbed.Add(read)
	lost := (*segstore.CorruptError)(nil)
	switch {
	case errors.As(err, &lost):
		return place{p.id, lost.LastOffset + 1}, read, s.mend(p.id, lost)
	case errors.Is(err, segstore.ErrOffsetOutOfRange): // it expired meanwhile
		return place{p.id, max(l.log.StartOffset(), 1)}, read, false
	case err != nil: // no word of flash, but of this process
		s.m.log.Warn("a copy can't be read on just to see whether it can be; the next round tries again", "partition", p.id, "offset", p.offset, "error", err)
		return s.after(p.id), read, false
	}
	return place{p.id, behind(raw, p.offset)}, read, false
}

// mend asks for what was lost, and says whether the answer has to be waited for.
func (s *scrubber) mend(id metadata.PartitionID, lost *segstore.CorruptError) (waits bool) {
	if s.m.Mend(id, lost.FirstOffset, lost.LastOffset) != Nowhere {
		return true // what is back is read to be sure
	}
	level := slog.LevelDebug // a card that lost this may have lost a thousand more
	if now := s.m.now(); s.said == 0 || now-s.said >= mendKept {
		s.said, level = now, slog.LevelError
	}
	s.m.log.Log(context.Background(), level, "flash lost records here that no other copy has: found by reading what is kept", "partition", id,
		"first", lost.FirstOffset, "last", lost.LastOffset, "error", lost)
	return false
}

// behind is the offset behind these batches.
func behind(raw []byte, offset int64) int64 {
	_, next := wanted(raw, offset, 1<<63-1)
	return max(next, offset+1)
}

// after is the beginning of the next copy, in order of their names, and behind the last
// of the first again.
func (s *scrubber) after(id metadata.PartitionID) place {
	ids := s.ids()
	if len(ids) == 0 {
		return place{}
	}
	i, found := slices.BinarySearchFunc(ids, id, metadata.PartitionID.Compare)
	if found {
		i++
	}
	return place{id: ids[i%len(ids)]}
}

// anywhere is where a start begins: one that happens every day must not read the same
// again each time.
func (s *scrubber) anywhere() place {
	ids := s.ids()
	if len(ids) == 0 {
		return place{}
	}
	id := ids[rand.IntN(len(ids))]
	log := s.m.local(id).log
	start, end := log.StartOffset(), log.HighWatermark()
	return place{id, start + rand.Int64N(max(end-start, 1))}
}

func (s *scrubber) ids() (ids []metadata.PartitionID) {
	for _, l := range s.m.all() {
		ids = append(ids, l.id)
	}
	slices.SortFunc(ids, metadata.PartitionID.Compare)
	return ids
}
