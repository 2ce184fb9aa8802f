package forward

import (
	"slices"
	"testing"
	"time"

	"cistern/segstore"
	"cistern/segstore/batch"
	"cistern/segstore/replica"
)

// newCalm returns a world in which nothing happens by itself.
func newCalm(t *testing.T) *world {
	w := newWorld(t, 1)
	w.trouble = false
	return w
}

// sent returns the attempts of the present generation that have no answer.
func (w *world) sentNow() []*Attempt { return w.lines[w.q.generation] }

// reply answers an attempt with err; nil: with what the leader says.
func (w *world) reply(a *Attempt, err error) {
	for g, line := range w.lines {
		w.lines[g] = slices.DeleteFunc(line, func(x *Attempt) bool { return x == a })
	}
	if err == nil {
		err = w.lead.take(a.Batch)
	}
	w.apply(w.q.Answered(w.now, a, -1, err))
}

func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	w.apply(w.q.Tick(w.now))
}

func producerOf(a *Attempt) batch.Producer {
	h, _ := batch.ParseHeader(a.Batch)
	return h.Producer
}

func TestInFlightIsBounded(t *testing.T) {
	w := newCalm(t)
	for range 3 * InFlightMax {
		w.submit(true)
	}
	if n := len(w.sentNow()); n != InFlightMax {
		t.Fatalf("%d at the leader, want %d", n, InFlightMax)
	}
	w.heal()
	w.check()
}

// What follows a batch that was refused for good takes its numbers.
func TestRefusedForGood(t *testing.T) {
	w := newCalm(t)
	for range 3 {
		w.submit(true)
	}
	all := slices.Clone(w.sentNow())
	w.reply(all[0], nil)
	w.reply(all[1], replica.ErrTooLarge)
	w.reply(all[2], nil) // out of order
	again := w.sentNow()
	if len(again) != 1 || producerOf(again[0]) != producerOf(all[1]) {
		t.Fatalf("%d sent again, as %+v; want %+v", len(again), producerOf(again[0]), producerOf(all[1]))
	}
	w.heal()
	w.check()
}

// A refused batch that may have reached a leader all the same keeps its number
// to itself: the next would pass for its duplicate, and be lost.
func TestRefusedInDoubt(t *testing.T) {
	w := newCalm(t)
	w.submit(true)
	old := w.sentNow()[0]
	w.apply(w.q.Changed(w.now, true)) // in doubt from now on
	w.submit(true)
	w.submit(true)
	w.reply(w.sentNow()[0], replica.ErrFull)
	_ = w.lead.take(old.Batch) // the leader has it, and nobody hears of that
	w.reply(old, replica.ErrUnreachable)
	w.pass(BackoffMinDefault)
	next := slices.Clone(w.sentNow())
	if len(next) == 0 || producerOf(next[0]).Sequence == 0 {
		t.Fatalf("%d sent, numbered anew", len(next))
	}
	// This one is refused without any doubt; the hole before it stays.
	w.reply(next[0], replica.ErrFull)
	w.heal()
	w.check()
}

func TestLeaderForgets(t *testing.T) {
	w := newCalm(t)
	w.submit(true)
	w.heal()
	clear(w.lead.producers)
	w.submit(true)
	w.submit(true)
	first := slices.Clone(w.sentNow())
	w.reply(first[1], nil)
	w.reply(first[0], nil)
	again := w.sentNow()
	if len(again) == 0 || producerOf(again[0]).ID == producerOf(first[0]).ID || producerOf(again[0]).Sequence != 0 {
		t.Fatalf("goes on as %+v", producerOf(again[0]))
	}
	w.heal()
	w.check()
}

func TestWhenToPark(t *testing.T) {
	for _, c := range []struct {
		name    string
		confirm bool
		after   time.Duration
	}{
		{"one copy was promised", true, ParkAfterDefault},
		{"more were", false, ParkHeldAfterDefault},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newCalm(t)
			w.submit(c.confirm)
			w.pass(c.after / 2)
			w.submit(c.confirm)
			w.pass(c.after/2 - 1)
			if w.parking != nil {
				t.Fatal("parked too early")
			}
			w.pass(1)
			if len(w.parking) != 2 {
				t.Fatalf("%d batches are parked, want all that wait", len(w.parking))
			}
			w.park()
			if (len(w.answered) > 0) != c.confirm {
				t.Errorf("%d records were answered", len(w.answered))
			}
			w.submit(c.confirm) // at once, behind the others
			if len(w.parking) != 1 {
				t.Error("the next one waits in memory")
			}
			w.heal()
			w.check()
		})
	}
}

// The answer to an attempt that was under way while its batch was parked is as
// good as handing it over.
func TestAnswerAfterParking(t *testing.T) {
	w := newCalm(t)
	w.submit(false)
	a := w.sentNow()[0]
	w.pass(ParkHeldAfterDefault)
	w.park()
	w.reply(a, nil)
	if pos, end := w.q.Position(); pos != end || len(w.answered) == 0 || w.reading >= 0 {
		t.Errorf("position %d of %d, %d answers, read from %d", pos, end, len(w.answered), w.reading)
	}
	w.heal()
	w.check()
}

func TestBackoff(t *testing.T) {
	w := newCalm(t)
	w.submit(true)
	for want := BackoffMinDefault; want < ParkAfterDefault/2; want *= 2 {
		w.reply(w.sentNow()[0], replica.ErrNoLeader)
		w.pass(want - 1)
		if len(w.sentNow()) != 0 {
			t.Fatalf("sent again before %s", want)
		}
		w.pass(1)
		if len(w.sentNow()) != 1 {
			t.Fatalf("not sent again after %s", want)
		}
	}
	w.reply(w.sentNow()[0], replica.ErrNoLeader)
	w.apply(w.q.Changed(w.now, true))
	if len(w.sentNow()) != 1 {
		t.Error("another leader is not tried at once")
	}
	w.heal()
	w.check()
}

// A batch that a leader refused while it was being parked is handed over all
// the same: after a restart nobody would remember to leave it out.
func TestRefusedWhileParking(t *testing.T) {
	w := newCalm(t)
	w.submit(true)
	a := w.sentNow()[0]
	w.pass(ParkAfterDefault)
	w.reply(a, replica.ErrFull)
	w.park()
	w.heal()
	w.check()
	if len(w.lead.log) == 0 {
		t.Error("it is on flash, was confirmed or refused, and never handed over")
	}
}

// What flash can't give back is told to those who wait, and the rest goes on.
func TestLost(t *testing.T) {
	w := newCalm(t)
	w.submit(false)
	w.submit(false)
	for _, a := range slices.Clone(w.sentNow()) {
		w.reply(a, replica.ErrNoLeader)
	}
	w.pass(ParkHeldAfterDefault)
	for w.parking == nil { // it may be trying the leader at that moment
		for _, a := range slices.Clone(w.sentNow()) {
			w.reply(a, replica.ErrNoLeader)
		}
		w.pass(BackoffMaxDefault)
	}
	w.park()
	for w.reading < 0 {
		w.pass(BackoffMaxDefault)
	}
	w.reading = -1
	first, _ := batch.ParseHeader(w.parked[0])
	w.apply(w.q.Lost(w.now, first.NextOffset()))
	if w.q.Counts().Lost != int64(first.Count) || w.answered[1] != ErrLost {
		t.Errorf("%+v, record 1: %v", w.q.Counts(), w.answered[1])
	}
	w.heal()
	w.check()
}

// Where flash refuses, batches wait in memory, and are refused in their turn.
func TestFlashRefuses(t *testing.T) {
	w := newCalm(t)
	w.submit(true)
	w.pass(ParkAfterDefault)
	w.parking = nil
	w.apply(w.q.Parked(w.now, []Parked{{Err: segstore.ErrFull}}))
	if w.q.Refuses(w.now) == nil || len(w.answered) != 0 {
		t.Fatalf("takes more, or has answered: %v", w.answered)
	}
	for at := w.now; w.now.Sub(at) < RefuseAfterDefault; w.pass(parkRetry) {
		if w.parking != nil {
			w.parking = nil
			w.apply(w.q.Parked(w.now, []Parked{{Err: segstore.ErrFull}}))
		}
	}
	if w.answered[1] != segstore.ErrFull {
		t.Errorf("after %s: %v", RefuseAfterDefault, w.answered)
	}
	w.submit(true)
	w.heal()
	w.check()
}
