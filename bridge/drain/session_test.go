package drain

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestWindow: one batch until the first answer, then five; after a failure all
// that followed it again, beginning with one.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newShelf(t, 0, 20), nil)
		first := b.sink.take()
		wantBases(t, "at first", first, 0)
		b.answer(first)
		five := b.sink.take()
		wantBases(t, "after an answer", five, 10, 20, 30, 40, 50)
		b.answer(five[:1])
		wantBases(t, "one more", b.sink.take(), 60)
		five[1].done(-1, errors.New("later"))
		wantBases(t, "while answers are due", b.sink.take())
		five[2].done(-1, errors.New("later"))
		five[3].done(-1, errors.New("later"))
		five[4].done(-1, errors.New("later"))
		time.Sleep(BackoffMax) // the answer for 60 is still due
		wantBases(t, "while an answer is due", b.sink.take())
		if c, _ := b.Cursor(shelfID); c != 20 {
			t.Errorf("cursor %d, want 20", c)
		}
	})
}

func TestRewind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newShelf(t, 0, 20), nil)
		b.answer(b.sink.take())
		for _, s := range b.sink.take() {
			s.done(-1, errors.New("later"))
		}
		time.Sleep(BackoffMin)
		again := b.sink.take()
		wantBases(t, "after a failure", again, 10)
		b.answer(again)
		wantBases(t, "after it was mended", b.sink.take(), 20, 30, 40, 50, 60)
		if how := b.sink.opened[1]; how != (Opening{Relocate: true}) {
			t.Errorf("the second lane was opened with %+v: what was in flight has to be looked up", how)
		}
	})
}

// TestSequenceWraps lets the sequence run over 2^31-1.
func TestSequenceWraps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pos = 1<<31 - 15
		log := newShelf(t, pos, 3)
		c := NewCursor(0)
		c.Incarnate(time.Now(), Target{Cluster: "c", Topic: "t"}, 1, 0, 0)
		c.Position, c.AckedAt = pos, time.Now().UnixMilli()
		state := &memory{kept: map[string][]byte{stateKey(shelfID): EncodeCursor(c)}}
		b := newBench(t, log, state)
		want := []int32{1<<31 - 15, 1<<31 - 5, 5}
		var got []int32
		for range 2 {
			sent := b.sink.take()
			for _, s := range sent {
				got = append(got, s.sequence)
			}
			b.answer(sent)
		}
		if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
			t.Errorf("sequences %v, want %v", got, want)
		}
	})
}

// TestSaves: one synced write before the first batch, lazy ones while records
// flow, the doubt withdrawn after silence and on a clean stop.
func TestSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newShelf(t, 0, 1), nil)
		first := b.sink.take()
		if c := b.state.cursor(t); b.state.syncs != 1 || !c.InDoubt || c.Producer != 1 {
			t.Fatalf("before the first batch: %d syncs, %+v", b.state.syncs, c)
		}
		b.answer(first)
		time.Sleep(SaveInterval)
		synctest.Wait()
		if c := b.state.cursor(t); b.state.puts != 1 || c.Position != 10 || c.Upstream != 10 || !c.InDoubt {
			t.Fatalf("a second later: %d puts, %+v", b.state.puts, c)
		}
		for range 3 { // a trickle costs lazy writes only
			b.log.grow(t, 1)
			b.answer(b.sink.take())
			time.Sleep(SettleAfter / 2)
		}
		if b.state.syncs != 1 {
			t.Errorf("%d syncs for a trickle, want 1", b.state.syncs)
		}
		time.Sleep(SettleAfter)
		synctest.Wait()
		if c := b.state.cursor(t); c.InDoubt || c.Position != 40 {
			t.Errorf("after silence: %+v", c)
		}
		b.log.grow(t, 1)
		b.sink.take()
		if b.state.syncs != 2 || !b.state.cursor(t).InDoubt {
			t.Errorf("the doubt is not durable: %d syncs", b.state.syncs)
		}
	})
}

func TestStop(t *testing.T) {
	for name, answered := range map[string]bool{"clean": true, "unanswered": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, newShelf(t, 0, 3), nil)
				b.answer(b.sink.take())
				last := b.sink.take()
				stopped := make(chan time.Time)
				start := time.Now()
				go func() { b.stop(); stopped <- time.Now() }()
				synctest.Wait()
				want := Cursor{Position: 10, InDoubt: true}
				if answered {
					b.answer(last)
					want = Cursor{Position: 30}
				}
				took := (<-stopped).Sub(start)
				if c := b.state.cursor(t); c.Position != want.Position || c.InDoubt != want.InDoubt {
					t.Errorf("saved %+v", c)
				}
				if answered && took != 0 || !answered && took != StopGrace {
					t.Errorf("the stop took %v", took)
				}
			})
		})
	}
}

// TestUnwritableState: nothing is sent that could not be remembered.
func TestUnwritableState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := &memory{kept: map[string][]byte{}, err: errors.New("read-only")}
		b := newBench(t, newShelf(t, 0, 3), state)
		time.Sleep(time.Minute)
		wantBases(t, "without memory", b.sink.take())
		if s := b.Status().Partitions[0]; s.State != StateRetrying || !strings.Contains(s.Reason, "read-only") {
			t.Errorf("status %+v", s)
		}
		state.fails(nil)
		time.Sleep(BackoffMax)
		wantBases(t, "with memory", b.sink.take(), 0)
	})
}

// TestHighWatermark: what is not confirmed on site does not leave it.
func TestHighWatermark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newShelf(t, 0, 3)
		log.hw = 20
		b := newBench(t, log, nil)
		b.answer(b.sink.take())
		second := b.sink.take()
		wantBases(t, "below the high watermark", second, 10)
		b.answer(second)
		wantBases(t, "at the high watermark", b.sink.take())
		if s := b.Status().Partitions[0]; s.State != StateIdle || s.Lag != 0 {
			t.Errorf("status %+v", s)
		}
		log.mu.Lock()
		log.hw = 30
		log.tell()
		log.mu.Unlock()
		wantBases(t, "when it moved", b.sink.take(), 20)
	})
}

// TestNewLeader: a leader that has just taken over does not know yet how far its
// log is confirmed, while its predecessor has drained that far.
func TestNewLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newShelf(t, 0, 3)
		b := newBench(t, log, nil)
		b.answer(b.sink.take())
		b.answer(b.sink.take())
		b.stop()
		log.hw = 10
		again := newBench(t, log, b.state)
		wantBases(t, "before the high watermark is known", again.sink.take())
		log.mu.Lock()
		log.hw = 30
		log.mu.Unlock()
		log.grow(t, 1)
		wantBases(t, "after", again.sink.take(), 30)
	})
}

// TestRemove: another gateway drains from here on.
func TestRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newShelf(t, 0, 3), nil)
		sent := b.sink.take()
		go b.Remove(shelfID)
		synctest.Wait()
		b.answer(sent)
		synctest.Wait()
		if n := len(b.Status().Partitions); n != 0 {
			t.Fatalf("%d partitions are left", n)
		}
		wantBases(t, "after Remove", b.sink.take())
		if c := b.state.cursor(t); c.Position != 10 {
			t.Errorf("the cursor was left at %d", c.Position)
		}
		if err := b.Add(newShelf(t, 0, 3), Term{}); err != nil {
			t.Fatal(err)
		}
		wantBases(t, "when it is back", b.sink.take(), 10)
	})
}

// TestLogCutBack: a log that ends before the cursor is no reason to send
// its next records under sequence numbers that were used.
func TestLogCutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newShelf(t, 0, 3), nil)
		b.answer(b.sink.take())
		b.answer(b.sink.take())
		b.stop()
		again := newBench(t, newShelf(t, 0, 2), b.state)
		wantBases(t, "with a shorter log", again.sink.take())
		if s := again.Status().Partitions[0]; s.State != StateStopped || !strings.Contains(s.Reason, "the log ends at 20") {
			t.Errorf("status %+v", s)
		}
	})
}

// TestLongOutage: batches that were in doubt for longer than brokers remember
// a producer are looked up, not sent again.
func TestLongOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newShelf(t, 0, 3), nil)
		b.answer(b.sink.take())
		sent := b.sink.take()
		gone := errors.New("uplink is gone")
		b.sink.fails(gone)
		for _, s := range sent {
			s.done(-1, gone)
		}
		time.Sleep(SilenceMax + time.Hour)
		synctest.Wait()
		if last := b.sink.opened[len(b.sink.opened)-1]; !last.Relocate {
			t.Errorf("after %v the lane is opened with %+v", SilenceMax+time.Hour, last)
		}
	})
}

// TestKick ends a long wait.
func TestKick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newShelf(t, 0, 3), nil)
		synctest.Wait()
		for range 3 {
			for _, s := range b.sink.take() {
				s.done(-1, &Error{Verdict: Denied, Err: errors.New("ask your administrator")})
			}
			synctest.Wait()
			if s := b.Status().Partitions[0]; s.State != StateStopped {
				t.Fatalf("status %+v", s)
			}
			start := time.Now()
			b.Kick()
			synctest.Wait()
			if time.Since(start) != 0 || len(b.sink.sent) != 1 {
				t.Fatalf("a kick took %v and sent %v", time.Since(start), bases(b.sink.sent))
			}
		}
	})
}

func TestAddRefuses(t *testing.T) {
	newer := newRecord(0, 0)
	newer.Version = recordVersion + 1
	for name, stored := range map[string][]byte{"garbage": []byte("garbage"), "a newer version": newer.encode()} {
		state := &memory{kept: map[string][]byte{stateKey(shelfID): stored}}
		d, err := New(Config{Sink: &hand{}, State: state, Quarantine: noQuarantine{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Add(newShelf(t, 0, 1), Term{}); err == nil || !strings.Contains(err.Error(), "s/0") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
