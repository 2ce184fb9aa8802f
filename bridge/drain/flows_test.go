package drain

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cistern/bridge/drain/pace"
)

var liveFirst = Config{Order: OrderLiveFirst}

// TestLiveFirst: what an outage left behind goes beside what is new, in one write,
// and is gone when it is drained.
func TestLiveFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newShelf(t, 0, 20)
		log.fresh = true
		b := newBenchOf(t, log, nil, Term{}, liveFirst)
		first := b.sink.take()
		wantBases(t, "of the backlog", of(Backfill, first), 0)
		wantBases(t, "of what is new", of(Live, first))
		r := b.state.record(t)
		if len(r.Older) != 1 || r.Older[0].End != 200 || r.Older[0].Producer != 1 || r.Live.From != 200 || r.Live.Branch != 1 {
			t.Fatalf("stored %+v", r)
		}
		log.grow(t, 2)
		second := b.sink.take()
		wantBases(t, "new, while the backlog waits", of(Live, second), 200)
		if s := second[0]; s.id != 2 || s.sequence != 0 {
			t.Errorf("what is new has producer %d, sequence %d", s.id, s.sequence)
		}
		b.answer(second)
		b.answer(b.sink.take())
		synctest.Wait()
		if c, _ := b.Cursor(shelfID); c != 0 {
			t.Errorf("the lowest offset that is not upstream is called %d", c)
		}
		s := b.Status().Partitions[0]
		if len(s.Flows) != 2 || s.Lag != 200 || s.Flows[0].Kind != Backfill || s.Flows[0].To != 200 || s.Flows[1].Position != 220 || s.Flows[1].To != -1 {
			t.Errorf("status %+v", s)
		}
		b.answer(first)
		for sent := b.sink.take(); len(sent) > 0; sent = b.sink.take() {
			for _, s := range sent {
				if s.flow != Backfill || s.id != 1 || s.sequence != int32(s.base) {
					t.Fatalf("the backlog's batch at %d has producer %d, sequence %d", s.base, s.id, s.sequence)
				}
			}
			b.answer(sent)
		}
		if c, _ := b.Cursor(shelfID); c != 220 || len(b.Status().Partitions[0].Flows) != 1 || len(b.state.record(t).Older) != 0 {
			t.Errorf("drained to %d, %+v", c, b.Status().Partitions[0])
		}
	})
}

// TestNoSplit: what is fresh is no backlog, and a strict order has none.
func TestNoSplit(t *testing.T) {
	for name, c := range map[string]Config{"fresh": liveFirst, "strict": {}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := &shelf{fresh: name == "fresh"}
				log.grow(t, 3)
				b := newBenchOf(t, log, nil, Term{}, c)
				wantBases(t, "at first", of(Live, b.sink.take()), 0)
				if n := len(b.Status().Partitions[0].Flows); n != 1 {
					t.Errorf("%d flows", n)
				}
			})
		})
	}
}

// TestFlowsMax: outage after outage leaves ranges, up to a limit; then records go
// in order, and the status says so.
func TestFlowsMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newShelf(t, 0, 1)
		b := newBenchOf(t, log, nil, Term{}, liveFirst)
		for range 3 * FlowsMax {
			log.grow(t, 1) // old ones
			for _, s := range of(Live, b.sink.take()) {
				s.done(-1, errors.New("uplink is gone"))
			}
			time.Sleep(BackoffMax)
		}
		s := b.Status().Partitions[0]
		if live := s.Flows[len(s.Flows)-1]; len(s.Flows) != FlowsMax+1 || !strings.Contains(live.Reason, "8 ranges") {
			t.Fatalf("%d flows, the live one says %q", len(s.Flows), live.Reason)
		}
		b.stop()
		strict := newBench(t, log, b.state)
		want := int64(0)
		for sent := strict.sink.take(); len(sent) > 0; sent = strict.sink.take() {
			for _, s := range sent {
				if s.base != want {
					t.Fatalf("a strict order goes on with offset %d, want %d", s.base, want)
				}
				want = s.next
			}
			strict.answer(sent)
		}
		if want != log.hw {
			t.Errorf("drained to %d of %d", want, log.hw)
		}
	})
}

// TestLiveWithin: while a backlog drains through a narrow gate, what is new does
// not wait for a second.
func TestLiveWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newShelf(t, 0, 4000)
		log.fresh = true
		size := len(log.batches[0])
		c := liveFirst
		c.Gate = pace.New(pace.Config{BytesPerSecond: int64(20 * size), LiveFirst: true})
		b := newBenchOf(t, log, nil, Term{}, c)
		defer c.Gate.Close()
		since := map[int64]time.Time{}
		backlog, worst := 0, time.Duration(0)
		for tick := range 600 {
			if tick%20 == 0 {
				since[log.hw] = time.Now()
				log.grow(t, 1)
			}
			sent := b.sink.take()
			for _, s := range sent {
				if at, ok := since[s.base]; ok {
					worst = max(worst, time.Since(at))
					delete(since, s.base)
				} else {
					backlog++
				}
			}
			b.answer(sent)
			time.Sleep(50 * time.Millisecond)
		}
		if worst > time.Second || len(since) > 1 {
			t.Errorf("what is new waited for %v, and %d of it waits still", worst, len(since))
		}
		if backlog < 200 { // 30 s at 20 a second, 30 of them new
			t.Errorf("%d batches of the backlog left meanwhile", backlog)
		}
		if got := b.Status().Gate.BytesPerSecond; got != int64(20*size) {
			t.Errorf("the status tells %d bytes/s", got)
		}
	})
}

// TestWindowOfLane: the lane says how many answers may be due.
func TestWindowOfLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOf(t, newShelf(t, 0, 20), nil, Term{}, Config{Sink: &hand{traits: Traits{Window: 7}}})
		b.answer(b.sink.take())
		if n := len(b.sink.take()); n != 7 {
			t.Errorf("%d batches are on the way, want 7", n)
		}
	})
}

// TestPause: remembered, told, and undone.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newShelf(t, 0, 20)
		b := newBench(t, log, nil)
		sent := b.sink.take()
		paused := make(chan error)
		go func() { paused <- b.Pause(context.Background(), shelfID, true) }()
		synctest.Wait()
		b.answer(sent)
		if err := <-paused; err != nil {
			t.Fatal(err)
		}
		log.grow(t, 1)
		time.Sleep(time.Hour)
		wantBases(t, "while paused", b.sink.take())
		if s := b.Status().Partitions[0]; s.State != StatePaused || !s.Paused || s.Cursor != 10 {
			t.Errorf("status %+v", s)
		}
		b.stop()
		again := newBench(t, log, b.state)
		wantBases(t, "paused, in another process", again.sink.take())
		again.state.fails(errors.New("fenced"))
		if err := again.Pause(t.Context(), shelfID, false); err == nil || !again.Status().Partitions[0].Paused {
			t.Errorf("resumed without a memory of it: %v", err)
		}
		again.state.fails(nil)
		if err := again.Pause(t.Context(), shelfID, false); err != nil {
			t.Fatal(err)
		}
		wantBases(t, "resumed", again.sink.take(), 10)
	})
}

// TestSkip: a named range is given up, from wherever the drain is.
func TestSkip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newShelf(t, 0, 20), nil)
		b.answer(b.sink.take())
		sent := b.sink.take()
		s, err := b.Skip(t.Context(), shelfID, 155, "a test", true)
		if want := (Skipped{First: 10, Next: 150, Records: 140}); err != nil || s != want {
			t.Fatalf("tried: %+v, %v, want %+v", s, err, want)
		}
		skipped := make(chan Skipped)
		go func() {
			s, err := b.Skip(context.Background(), shelfID, 155, "a test", false)
			if err != nil {
				t.Error(err)
			}
			skipped <- s
		}()
		synctest.Wait()
		b.answer(sent) // 10 to 60 are upstream after all
		if s, want := <-skipped, (Skipped{First: 60, Next: 150, Records: 90}); s != want {
			t.Fatalf("skipped %+v, want %+v", s, want)
		}
		again := b.sink.take()
		wantBases(t, "behind what was skipped", again, 150)
		if again[0].sequence != 60 {
			t.Errorf("it has sequence %d, want 60", again[0].sequence)
		}
		b.answer(again)
		synctest.Wait()
		if s := b.Status().Partitions[0]; s.Skipped != (Tally{1, 90}) || s.Cursor != 160 {
			t.Errorf("status %+v", s)
		}
	})
}

// TestSkipInDoubt: what turns out to be upstream was not skipped, and sequence
// numbers are used anew only when nothing that carries them can arrive any more.
func TestSkipInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOf(t, newShelf(t, 0, 20), nil, Term{}, Config{Sink: &hand{fail: errors.New("uplink is gone")}})
		b.stop()
		c := NewCursor(0)
		c.Incarnate(time.Now(), Target{Cluster: "c", Topic: "t"}, 1, 0, 0)
		c.Position, c.InDoubt = 20, true
		b.state.Put(stateKey(shelfID), EncodeCursor(c))
		again := newBenchOf(t, b.log, b.state, Term{}, Config{Sink: b.sink})
		again.state.fails(errors.New("fenced"))
		if _, err := again.Skip(t.Context(), shelfID, 100, "a test", false); err == nil {
			t.Fatal("skipped without a memory of it")
		}
		again.state.fails(nil)
		if _, err := again.Skip(t.Context(), shelfID, 100, "a test", false); err != nil {
			t.Fatal(err)
		}
		if s := again.Status().Partitions[0]; s.Cursor != 100 || s.Skipped != (Tally{1, 80}) || s.Lag != 100 {
			t.Errorf("while the uplink is gone: %+v", s)
		}
		b.sink.fails(nil)
		b.sink.at = 40 // two of the batches in doubt had arrived
		again.Kick()
		wantBases(t, "while requests may arrive", again.sink.take())
		time.Sleep(QuietTime + BackoffMax)
		sent := again.sink.take()
		wantBases(t, "when they can't any more", sent, 100)
		if sent[0].sequence != 40 {
			t.Errorf("sequence %d, want 40", sent[0].sequence)
		}
		if s := again.Status().Partitions[0]; s.Skipped != (Tally{1, 60}) {
			t.Errorf("counted %+v", s.Skipped)
		}
	})
}

// TestSkipRanges: whole ranges go.
func TestSkipRanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newShelf(t, 0, 20)
		log.fresh = true
		b := newBenchOf(t, log, nil, Term{}, liveFirst)
		lost := b.sink.take()
		log.grow(t, 5)
		live := b.sink.take()
		skipped := make(chan Skipped)
		go func() {
			s, _ := b.Skip(context.Background(), shelfID, 230, "a test", false)
			skipped <- s
		}()
		synctest.Wait()
		b.answer(live)
		b.answer(lost)
		if s, want := <-skipped, (Skipped{First: 10, Next: 230, Records: 210}); s != want {
			t.Errorf("skipped %+v, want %+v", s, want)
		}
		wantBases(t, "behind what was skipped", b.sink.take(), 230)
		if s := b.Status().Partitions[0]; len(s.Flows) != 1 || s.Cursor != 230 {
			t.Errorf("status %+v", s)
		}
	})
}

// TestStatusText: what programs read.
func TestStatusText(t *testing.T) {
	b, err := json.Marshal(FlowStatus{Kind: Backfill, To: 5})
	if err != nil || !strings.Contains(string(b), `"kind":"backfill"`) {
		t.Errorf("%s, %v", b, err)
	}
	var f FlowStatus
	if err := json.Unmarshal(b, &f); err != nil || f.Kind != Backfill {
		t.Errorf("read back as %+v, %v", f, err)
	}
}

// TestGateOutage: a gate that was closed for hours leaves a backlog, as an uplink
// does.
func TestGateOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		window, err := pace.ParseWindow("02:00-05:00")
		if err != nil {
			t.Fatal(err)
		}
		log := &shelf{fresh: true}
		log.grow(t, 20)
		c := liveFirst
		c.Gate = pace.New(pace.Config{Schedule: []pace.Window{window}, Now: func() time.Time { return time.Now().UTC().AddDate(30, 0, 0) },
			Uplink: func() (time.Time, bool) { return time.Now(), true }})
		defer c.Gate.Close()
		b := newBenchOf(t, log, nil, Term{}, c)
		time.Sleep(time.Hour)
		wantBases(t, "outside the hours", b.sink.take())
		if s := b.Status(); s.Partitions[0].State != StatePaced || s.Gate.Open {
			t.Errorf("status %+v", s)
		}
		time.Sleep(time.Hour + time.Minute)
		sent := b.sink.take()
		wantBases(t, "of the backlog", of(Backfill, sent), 0)
		log.grow(t, 1)
		wantBases(t, "of what is new", of(Live, b.sink.take()), 200)
	})
}
