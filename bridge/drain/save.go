package drain

import (
	"errors"
	"time"

	"cistern/gossip/metadata"
)

// save writes the position lazily, and has the timer look at the doubt later.
func (s *session) save() {
	s.saveLazily()
	s.unsaved = 0
	s.timer.Reset(SettleAfter)
}

// housekeep runs on the timer: SaveInterval after the first unsaved
// acknowledgement, SettleAfter after the last save.
func (s *session) housekeep() {
	switch {
	case s.unsaved > 0:
		s.save()
	case len(s.flights) == 0 && s.cursor.InDoubt && s.next == s.cursor.Position && s.certain():
		s.cursor.InDoubt, s.doubted = false, false
		s.saveLazily()
	}
}

// finish ends a session cleanly: the answers that are due get a moment, then
// the cursor is saved. A mere interruption waits for all of them.
func (s *session) finish() {
	grace := time.NewTimer(StopGrace)
	defer grace.Stop()
	outer := s.outer.Done()
	if s.outer.Err() == nil {
		grace.Stop()
	}
	for len(s.flights) > 0 {
		select {
		case <-outer:
			grace.Reset(StopGrace)
			outer = nil
		case o := <-s.results:
			f := s.pop(o)
			if o.err != nil {
				s.unanswered()
				s.saveAtStop(false)
				return
			}
			s.landed(f, o.upstream)
		case <-grace.C:
			s.unanswered()
			s.saveAtStop(false)
			return
		}
	}
	s.saveAtStop(s.certain())
}

// certain reports whether nothing but what was acknowledged can be upstream. What
// was sent by an earlier session is known once a batch behind it was acknowledged
// in this one: the broker takes them in order. What a predecessor sends, who does
// not know yet that it is one, lies below where the log ended when this session
// began.
func (s *session) certain() bool { return s.proven && s.cursor.Position >= s.split.end }

// saveAtStop saves the cursor, and withdraws the doubt when everything that
// was ever sent is known to have arrived.
func (s *session) saveAtStop(clean bool) {
	if clean {
		s.cursor.InDoubt = false
	}
	s.publish(0)
	if s.unsaved == 0 && s.doubted == s.cursor.InDoubt {
		return
	}
	err := s.saveSync(Tallies{})
	if err != nil {
		s.cursor.InDoubt = true // which nobody was told
	}
	switch {
	case errors.Is(err, metadata.ErrFencedLeaderEpoch):
		s.logger.Info("another gateway drains the partition now, and its cursor counts", "error", err)
	case err != nil:
		s.logger.Error("cursor not saved at stop, the next start searches upstream", "error", err)
	}
}
