package pace

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// sender sends batches of one class, one after the other, as a partition does, and
// counts what was granted.
type sender struct {
	class Class
	size  int
	sent  int64
	late  time.Duration // the longest wait
}

// flood asks again and again until the gate is closed or the time is over.
func (s *sender) flood(g *Gate, until time.Time) {
	for time.Now().Before(until) {
		asked := time.Now()
		p := g.Ask(s.class, s.size)
		select {
		case <-p.Granted():
			s.late = max(s.late, time.Since(asked))
			s.sent += int64(s.size)
			p.Done()
		case <-time.After(time.Until(until)):
			p.Cancel()
		}
	}
}

func run(g *Gate, d time.Duration, senders ...*sender) {
	done, until := make(chan struct{}), time.Now().Add(d)
	for _, s := range senders {
		go func() { s.flood(g, until); done <- struct{}{} }()
	}
	for range senders {
		<-done
	}
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if got < want*(1-tolerance) || got > want*(1+tolerance) {
		t.Errorf("%s: %.0f, want %.0f within %.0f %%", what, got, want, 100*tolerance)
	}
}

// The cap holds for batches of every size, from bytes to many seconds of it.
func TestCap(t *testing.T) {
	for _, test := range []struct {
		rate int64
		size int
	}{{20_000, 100}, {20_000, 15_000}, {20_000, 200_000}, {1 << 20, 777}, {100 << 20, 10_000}, {5 << 30, 1 << 20}} {
		t.Run(fmt.Sprintf("%d by %d", test.rate, test.size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := New(Config{BytesPerSecond: test.rate})
				d := time.Second
				if test.rate < 1<<20 {
					d = 100*time.Second + 10*time.Duration(test.size)*time.Second/1000
				}
				s := &sender{size: test.size}
				run(g, d, s)
				allowed := float64(test.rate)*d.Seconds() + float64(test.size)
				if got := float64(s.sent); got > allowed*1.04 {
					t.Errorf("%.0f bytes, at most %.0f are allowed", got, allowed)
				}
				near(t, "bytes", float64(s.sent), allowed, 0.06)
			})
		})
	}
}

// Classes that all want to send share as their weights say, whatever the size of
// their batches; what one leaves the others take.
func TestShares(t *testing.T) {
	weights := map[string]int{"alarm": 5, "normal": 3, "bulk": 1}
	all := func(sizes ...int) (senders []*sender) {
		for i, size := range sizes {
			senders = append(senders, &sender{class: Class{[]string{"alarm", "normal", "bulk"}[i%3], i >= 3}, size: size})
		}
		return senders
	}
	for name, senders := range map[string][]*sender{
		"live":      all(1000, 1000, 1000),
		"and old":   all(1000, 1000, 1000, 1000, 1000, 1000),
		"all sizes": all(100_000, 3000, 50_000, 100_000, 400, 5000),
		"two":       all(1000, 3000),
		"one":       all(1000),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const rate, d = 100_000, 10 * time.Minute
				g := New(Config{BytesPerSecond: rate, Weights: weights})
				run(g, d, senders...)
				sum := 0.0
				for _, s := range senders {
					sum += g.class(s.class).weight
				}
				for _, s := range senders {
					want := rate * d.Seconds() * g.class(s.class).weight / sum
					near(t, fmt.Sprint(s.class), float64(s.sent), want, 0.05)
				}
			})
		})
	}
}

// Far apart as weights may be, over a long time nobody starves.
func TestNobodyStarves(t *testing.T) {
	for _, w := range []int{1, 7, 100} {
		synctest.Test(t, func(t *testing.T) {
			const rate, d = 50_000, 90 * time.Minute
			g := New(Config{BytesPerSecond: rate, Weights: map[string]int{"alarm": w}})
			big := &sender{class: Class{"alarm", false}, size: 10_000}
			small := &sender{class: Class{"bulk", true}, size: 10_000}
			run(g, d, big, small)
			share := BackfillShare / (BackfillShare + float64(w))
			near(t, fmt.Sprintf("weight %d", w), float64(small.sent), share*rate*d.Seconds(), 0.05)
		})
	}
}

// A batch of the backlog that costs 50 s of the cap does not make new records wait:
// they have their own share.
func TestLiveIsNotBehindBackfill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Config{BytesPerSecond: 20_000, LiveFirst: true})
		start := time.Now()
		old := &sender{class: Class{"normal", true}, size: 1_000_000}
		fresh := &sender{class: Class{"normal", false}, size: 2000}
		done := make(chan bool)
		go func() { old.flood(g, start.Add(time.Hour)); close(done) }()
		for range 3000 {
			time.Sleep(time.Second)
			asked := time.Now()
			p := g.Ask(fresh.class, fresh.size)
			<-p.Granted()
			fresh.late = max(fresh.late, time.Since(asked))
			p.Done()
		}
		if fresh.late > time.Second {
			t.Errorf("a new batch waited %s", fresh.late)
		}
		<-done
		near(t, "backlog", float64(old.sent), 3600*20_000-3000*2000, 0.05)
	})
}

// What waits is served in the order of asking, can be cancelled, and what was
// granted in vain is given back.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Config{BytesPerSecond: 1000, DailyBytes: 1 << 40})
		c := Class{Lane: "normal"}
		first := g.Ask(c, 10_000)
		<-first.Granted()
		second, third := g.Ask(c, 500), g.Ask(c, 500)
		second.Cancel()
		second.Cancel()
		second.Done()
		if s := g.Status(); s.Classes[0].Waiting != 500 || s.Unanswered != 10_000 || s.BytesToday != 10_000 {
			t.Errorf("%+v", s)
		}
		start := time.Now()
		first.Cancel() // it was not sent: its 10 s need not be paid
		<-third.Granted()
		if d := time.Since(start); d > 10*time.Millisecond {
			t.Errorf("waited %s for bytes that did not leave", d)
		}
		third.Done()
		third.Cancel()
		if s := g.Status(); s.Classes[0].Waiting != 0 || s.Unanswered != 0 || s.BytesToday != 500 || s.Classes[0].Sent != 500 {
			t.Errorf("%+v", s)
		}
	})
}

// Batches that cost less than a timer is worth share as well: what comes late is
// not lost, nor is it another's.
func TestSharesOfAFastLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, d = 100_000_000, 2 * time.Second
		g := New(Config{BytesPerSecond: rate, Weights: map[string]int{"alarm": 3}})
		alarm := &sender{class: Class{"alarm", false}, size: 10_000}
		bulk := &sender{class: Class{"bulk", false}, size: 10_000}
		run(g, d, alarm, bulk)
		near(t, "alarm", float64(alarm.sent), rate*d.Seconds()*0.75, 0.05)
		near(t, "bulk", float64(bulk.sent), rate*d.Seconds()*0.25, 0.05)
	})
}

// What nobody used for a moment is there for who comes next.
func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Config{BytesPerSecond: 100_000})
		time.Sleep(time.Minute)
		start := time.Now()
		for range 10 { // what 100 ms yield
			<-g.Ask(Class{}, 1000).Granted()
		}
		if d := time.Since(start); d > 10*time.Millisecond {
			t.Errorf("a burst took %s", d)
		}
	})
}

// Nobody gets more than a burst for having been silent.
func TestSilenceIsNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Config{BytesPerSecond: 10_000})
		time.Sleep(time.Hour)
		s := &sender{size: 100}
		run(g, time.Second, s)
		if most := int64(10_000 + 2*0.1*10_000 + 100); s.sent > most {
			t.Errorf("%d bytes in a second, at most %d are allowed", s.sent, most)
		}
	})
}

func TestNilGate(t *testing.T) {
	var g *Gate
	p := g.Ask(Class{}, 1<<30)
	<-p.Granted()
	p.Done()
	p.Lost()
	p.Cancel()
	g.Look()
	g.Up(time.Hour)
	g.Close()
	if !g.Status().Open {
		t.Error("a nil gate is closed")
	}
}

// More classes than there should be share one.
func TestClassesMax(t *testing.T) {
	g := New(Config{})
	for i := range 2 * ClassesMax {
		g.Ask(Class{Lane: fmt.Sprint(i)}, 1).Done()
	}
	if n := len(g.Status().Classes); n != ClassesMax {
		t.Errorf("%d classes", n)
	}
}

func BenchmarkAsk(b *testing.B) {
	for name, g := range map[string]*Gate{
		"nil": nil, "no limit": New(Config{}), "ramp up": New(Config{RampUp: true, Uplink: func() (time.Time, bool) { return time.Time{}, true }}),
		"live first": New(Config{LiveFirst: true}), "cap": New(Config{BytesPerSecond: 1 << 50}),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			c := Class{Lane: "normal"}
			for b.Loop() {
				p := g.Ask(c, 10_000)
				<-p.Granted()
				p.Done()
			}
		})
	}
}
