package drain

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// cutBack gives up batches above an offset, and grows others in a new epoch.
func (l *shelf) cutBack(t *testing.T, to int64, batches int) {
	l.mu.Lock()
	l.batches = l.batches[:(to-l.start)/10]
	l.hw = to
	l.epoch++
	l.mu.Unlock()
	l.grow(t, batches)
}

// TestUnclean: upstream has records that the site gave up. They stay there; what
// the site has in their place follows under a new producer id.
func TestUnclean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newShelf(t, 0, 6)
		b := newBench(t, log, nil)
		b.answer(b.sink.take())
		b.answer(b.sink.take())
		b.stop()
		if r := b.state.record(t); r.Live.Position != 60 || r.Live.LogEpoch != 0 || r.Unclean != 0 {
			t.Fatalf("stored %+v", r)
		}
		log.cutBack(t, 40, 5)
		again := newBenchOf(t, log, b.state, Term{Unclean: 1}, Config{Sink: b.sink})
		sent := again.sink.take()
		wantBases(t, "after the election", sent, 40)
		if s := sent[0]; s.id != 2 || s.sequence != 0 {
			t.Errorf("producer %d, sequence %d", s.id, s.sequence)
		}
		if s := again.Status().Partitions[0]; s.Abandoned != (Tally{1, 20}) || s.Incarnation != 2 {
			t.Errorf("status %+v", s)
		}
		if r := again.state.record(t); r.Unclean != 1 || r.Live.LogEpoch != 1 || r.Live.Branch != 1 {
			t.Errorf("stored %+v", r)
		}
		again.answer(sent)
		again.sink.take()
		again.stop()
		same := newBenchOf(t, log, b.state, Term{Unclean: 1}, Config{Sink: b.sink})
		wantBases(t, "later", same.sink.take(), 50)
	})
}

// TestUncleanAhead: what was drained is not what was given up.
func TestUncleanAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newShelf(t, 0, 6)
		b := newBench(t, log, nil)
		b.answer(b.sink.take())
		b.sink.take()
		b.stop() // unanswered
		log.cutBack(t, 40, 5)
		b.sink.fails(errors.New("uplink is gone"))
		again := newBenchOf(t, log, b.state, Term{Unclean: 1}, Config{Sink: b.sink})
		wantBases(t, "while nobody knows", again.sink.take())
		again.sink.at = 30 // two of those in doubt had arrived
		again.sink.fails(nil)
		time.Sleep(QuietTime + BackoffMax)
		sent := again.sink.take()
		wantBases(t, "when it is known", sent, 30)
		if how := again.sink.opened[len(again.sink.opened)-2]; !how.Relocate || sent[0].id != 2 {
			t.Errorf("it was looked up with %+v, and sent by producer %d", how, sent[0].id)
		}
		if s := again.Status().Partitions[0]; s.Abandoned != (Tally{}) {
			t.Errorf("status %+v", s)
		}
	})
}

// TestUncleanFlows: of a range, what lies in the common part of both histories
// stays; everything behind goes in one flow.
func TestUncleanFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newShelf(t, 0, 20)
		log.fresh = true
		b := newBenchOf(t, log, nil, Term{}, liveFirst)
		b.answer(b.sink.take())
		b.sink.take()
		log.grow(t, 2)
		b.answer(of(Live, b.sink.take()))
		b.stop()
		log.cutBack(t, 150, 10)
		again := newBenchOf(t, log, b.state, Term{Unclean: 1}, Config{Order: OrderLiveFirst, Sink: b.sink})
		time.Sleep(QuietTime + BackoffMax)
		synctest.Wait()
		r := again.state.record(t)
		// By now all of it is old, so that what lies behind was split off at once.
		if len(r.Older) != 2 || r.Older[0].End != 150 || r.Older[0].Position != 10 || r.Older[1].From != 150 || r.Counts.Abandoned.Records != 10 {
			t.Fatalf("stored %+v", r)
		}
		seen := map[int64]int64{}
		for sent := again.sink.take(); len(sent) > 0; sent = again.sink.take() {
			for _, s := range sent {
				seen[s.base] = s.id
			}
			again.answer(sent)
		}
		for o := int64(10); o < 250; o += 10 {
			if id := seen[o]; o < 150 && id != 1 || o >= 150 && id != 3 {
				t.Errorf("offset %d was sent by producer %d", o, id)
			}
		}
	})
}

// TestEpochIsDurable: before the first batch of a leader epoch leaves, it is known
// that one will.
func TestEpochIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newShelf(t, 0, 2)
		b := newBench(t, log, nil)
		b.answer(b.sink.take())
		log.epoch = 5
		log.grow(t, 1)
		wantBases(t, "while the old epoch's is due", b.sink.take(), 10)
		if c := b.state.cursor(t); c.LogEpoch != 0 {
			t.Errorf("stored epoch %d", c.LogEpoch)
		}
	})
}
