package drain

import (
	"testing"
	"testing/synctest"
	"time"

	"cistern/bridge/drain/pace"
)

// TestUncleanQuiet: what was on its way when the site gave up records arrives
// before it is known where the new producer id begins.
func TestUncleanQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newShelf(t, 0, 6)
		b := newBench(t, log, nil)
		b.answer(b.sink.take())
		wantBases(t, "on their way", b.sink.take(), 10, 20, 30, 40, 50)
		b.stop() // unanswered
		log.cutBack(t, 40, 5)
		again := newBenchOf(t, log, b.state, Term{Unclean: 1}, Config{Sink: b.sink})
		wantBases(t, "while they may still arrive", again.sink.take())
		again.sink.arrive(40)
		time.Sleep(QuietTime + BackoffMax)
		wantBases(t, "later", again.sink.take(), 40)
	})
}

// arrive has the next Open find a position.
func (s *hand) arrive(at int64) { s.mu.Lock(); defer s.mu.Unlock(); s.at = at }

// TestGateOutageWithoutQuorum: what is confirmed goes on when what is not yet
// stays so.
func TestGateOutageWithoutQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &shelf{fresh: true}
		log.grow(t, 1)
		window, err := pace.ParseWindow("02:00-05:00")
		if err != nil {
			t.Fatal(err)
		}
		c := liveFirst
		c.Gate = pace.New(pace.Config{Schedule: []pace.Window{window}, Now: func() time.Time { return time.Now().UTC().AddDate(30, 0, 0) },
			Uplink: func() (time.Time, bool) { return time.Now(), true }})
		defer c.Gate.Close()
		b := newBenchOf(t, log, nil, Term{}, c)
		wantBases(t, "while it is closed", b.sink.take())
		log.grow(t, 1)
		log.mu.Lock()
		log.hw = 10 // the second is not confirmed
		log.mu.Unlock()
		time.Sleep(2*time.Hour + time.Minute)
		wantBases(t, "when it is open", b.sink.take(), 0)
	})
}

// TestLostBelowGap: upstream lost what lies below a gap, and so the sequence
// number it is at belongs to another offset than the cursor says. Going on there
// would lose as many records as the gap has.
func TestLostBelowGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newShelf(t, 0, 20)
		c := NewCursor(0)
		c.Incarnate(time.Now(), Target{Cluster: "c", Topic: "t"}, 1, 0, 0)
		c.Position = 100
		c.skip(110)
		c.Position, c.InDoubt = 150, true
		state := &memory{kept: map[string][]byte{stateKey(shelfID): EncodeCursor(c)}}
		sink := &hand{ids: 1, at: c.OffsetOf(49) + 1} // the last that is left is of offset 49
		b := newBenchOf(t, log, state, Term{}, Config{Sink: sink})
		time.Sleep(QuietTime + DeniedRetry)
		wantBases(t, "while it is not known where to go on", b.sink.take())
		if s := b.Status().Partitions[0]; s.State != StateStopped {
			t.Errorf("status %+v", s)
		}
		if _, err := b.Skip(t.Context(), shelfID, 110, "looked at upstream", false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(DeniedRetry)
		wantBases(t, "after a skip", b.sink.take(), 110)
	})
}
