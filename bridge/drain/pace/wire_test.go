package pace

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A sink that writes five times what was asked for, since it sends without
// compression, is held to the cap all the same, and so is the day's budget.
func TestWireIsCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, d, factor = 10_000, 10 * time.Minute, 5
		var written, read atomic.Int64
		g := New(Config{BytesPerSecond: rate, DailyBytes: 1 << 40, Weights: map[string]int{"alarm": 3}, Now: wallAt(noon),
			Wire: func() (int64, int64) { return written.Load(), read.Load() }})
		done, sent := make(chan bool), map[string]*int64{"alarm": new(int64), "normal": new(int64)}
		for lane, sum := range sent {
			go func() {
				for until := time.Now().Add(d); time.Now().Before(until); {
					p := g.Ask(Class{Lane: lane}, 2000)
					<-p.Granted()
					*sum += 2000
					written.Add(factor * 2000)
					read.Add(100)
					time.Sleep(10 * time.Millisecond)
					p.Done()
				}
				done <- true
			}()
		}
		for range int(d.Seconds()) {
			before := written.Load()
			time.Sleep(time.Second)
			if got := written.Load() - before; got > rate+2*factor*2000 {
				t.Errorf("%d bytes in a second: a batch of each may leave ahead", got)
			}
		}
		<-done
		<-done
		near(t, "on the wire", float64(written.Load()), rate*d.Seconds(), 0.05)
		near(t, "of the one", float64(*sent["alarm"]), rate*d.Seconds()/factor*0.75, 0.05)
		near(t, "of the other", float64(*sent["normal"]), rate*d.Seconds()/factor*0.25, 0.05)
		if s := g.Status(); s.BytesToday != written.Load()+read.Load() {
			t.Errorf("%d of %d bytes were counted", s.BytesToday, written.Load()+read.Load())
		}
	})
}

// What was granted and then lost before it was written does not count, and neither
// does it hide what is written later.
func TestWireLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var written atomic.Int64
		written.Store(777) // before there was a gate
		g := New(Config{DailyBytes: 1 << 40, Now: wallAt(noon), Wire: func() (int64, int64) { return written.Load(), 0 }})
		one, two := g.Ask(Class{}, 1000), g.Ask(Class{}, 1000)
		written.Add(500)
		if s := g.Status(); s.BytesToday != 2000 {
			t.Errorf("%d bytes while they may still be written", s.BytesToday)
		}
		one.Lost()
		two.Lost()
		if s := g.Status(); s.BytesToday != 500 {
			t.Errorf("%d bytes when they can't be any more", s.BytesToday)
		}
		written.Add(40) // a question and its frame
		if s := g.Status(); s.BytesToday != 540 {
			t.Errorf("%d bytes", s.BytesToday)
		}
		p := g.Ask(Class{}, 1000)
		p.Cancel()
		if s := g.Status(); s.BytesToday != 540 {
			t.Errorf("%d bytes after one was given back", s.BytesToday)
		}
	})
}
