package pace

import (
	"testing"
	"testing/synctest"
	"time"
)

// link is a way upstream that carries one batch after the other and answers after
// the round trip.
type link struct {
	rate  float64 // bytes per second
	trip  time.Duration
	queue chan parcel
}

type parcel struct {
	pass     *Pass
	answered func()
}

func newLink(rate float64, trip time.Duration) *link {
	l := &link{rate: rate, trip: trip, queue: make(chan parcel, 1000)}
	go func() {
		for p := range l.queue {
			time.Sleep(time.Duration(float64(p.pass.bytes) / rate * float64(time.Second)))
			time.AfterFunc(trip, func() { p.pass.Done(); p.answered() })
		}
	}()
	return l
}

// partition sends batches, up to window of them unanswered, and tells how long each
// took from the asking to the answer.
func (l *link) partition(g *Gate, c Class, size, window int, every, d time.Duration) (sent int64, longest time.Duration) {
	slots := make(chan time.Duration, window)
	for range window {
		slots <- 0
	}
	for until := time.Now().Add(d); time.Now().Before(until); time.Sleep(every) {
		longest = max(longest, <-slots)
		asked := time.Now()
		p := g.Ask(c, size)
		<-p.Granted()
		sent += int64(size)
		l.queue <- parcel{p, func() { slots <- time.Since(asked) }}
	}
	for range window {
		longest = max(longest, <-slots)
	}
	return sent, longest
}

// race drains a backlog of several partitions over a link, beside a new batch each
// second, and returns how much of the backlog went and the longest that a new
// batch took.
func race(liveFirst bool, rate float64, trip time.Duration, partitions, size int, d time.Duration) (old int64, longest time.Duration) {
	g, l := New(Config{LiveFirst: liveFirst}), newLink(rate, trip)
	done := make(chan int64)
	for range partitions {
		go func() {
			sent, _ := l.partition(g, Class{"normal", true}, size, 5, 0, d)
			done <- sent
		}()
	}
	_, longest = l.partition(g, Class{"normal", false}, 200, 5, time.Second, d)
	for range partitions {
		old += <-done
	}
	close(l.queue)
	return old, longest
}

// On a slow link the backlog is held to what keeps the link busy: new records take
// no longer than that, and the link is used all the same.
func TestSlowLink(t *testing.T) {
	const rate, trip, d = 8000, 300 * time.Millisecond, 10 * time.Minute
	synctest.Test(t, func(t *testing.T) {
		_, before := race(false, rate, trip, 5, 4000, d)
		if before < 10*time.Second {
			t.Errorf("without a limit a new batch took %s: the test tests nothing", before)
		}
		old, longest := race(true, rate, trip, 5, 4000, d)
		t.Logf("the longest: %s without, %s with; the link carried %.0f %%", before, longest, float64(old)/rate/d.Seconds()*100)
		if longest > 2500*time.Millisecond {
			t.Errorf("a new batch took %s", longest)
		}
		if used := float64(old+200*600) / rate / d.Seconds(); used < 0.9 {
			t.Errorf("the link was used to %.0f %%", 100*used)
		}
	})
}

// Batches that take minutes each leave one after the other.
func TestSlowLinkLargeBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, l := New(Config{LiveFirst: true}), newLink(8000, 300*time.Millisecond)
		done := make(chan bool)
		for range 5 {
			go func() { l.partition(g, Class{"normal", true}, 1_000_000, 5, 0, 30*time.Minute); done <- true }()
		}
		most := int64(0)
		for range 1800 {
			time.Sleep(time.Second)
			most = max(most, g.Status().Unanswered)
		}
		for range 5 {
			<-done
		}
		close(l.queue)
		if most > 2_000_000 {
			t.Errorf("%d bytes were unanswered", most)
		}
	})
}

// On a fast link far away the limit is not felt: the link is full.
func TestFarLink(t *testing.T) {
	const rate, trip, d = 2.5e6, 300 * time.Millisecond, 3 * time.Minute
	for _, size := range []int{1_000_000, 20_000} {
		synctest.Test(t, func(t *testing.T) {
			old, longest := race(true, rate, trip, 100_000_000/size/25+1, size, d)
			used := float64(old) / rate / d.Seconds()
			t.Logf("batches of %d: the link carried %.0f %%, a new batch took up to %s", size, 100*used, longest)
			if used < 0.9 {
				t.Errorf("the link was used to %.0f %%", 100*used)
			}
		})
	}
}

// What was lost on the way says nothing about the link.
func TestLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Config{LiveFirst: true})
		p := g.Ask(Class{"normal", true}, 1<<20)
		time.Sleep(time.Microsecond)
		p.Lost()
		p.Done()
		if s := g.Status(); s.BackfillMax != 0 || s.Unanswered != 0 {
			t.Errorf("%+v", s)
		}
		g.Ask(Class{"normal", true}, 1<<20)
		select {
		case <-g.Ask(Class{"normal", true}, 1<<20).Granted():
			t.Error("two batches left before the link was known")
		default:
		}
	})
}

// Without a cap the backlogs of two lanes share what the link carries, by weight.
func TestBacklogsShareTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, d = 50_000, 10 * time.Minute
		g, l := New(Config{LiveFirst: true, Weights: map[string]int{"alarm": 3}}), newLink(rate, 100*time.Millisecond)
		sent := map[string]chan int64{"alarm": make(chan int64), "bulk": make(chan int64)}
		for lane, c := range sent {
			for range 4 {
				go func() {
					n, _ := l.partition(g, Class{lane, true}, 2000, 5, 0, d)
					c <- n
				}()
			}
		}
		sum := func(c chan int64) (n float64) {
			for range 4 {
				n += float64(<-c)
			}
			return n
		}
		near(t, "alarm", sum(sent["alarm"]), 0.75*rate*d.Seconds(), 0.1)
		near(t, "bulk", sum(sent["bulk"]), 0.25*rate*d.Seconds(), 0.1)
		close(l.queue)
	})
}

// Silence is not slowness: what the link can take is not forgotten by it.
func TestSilentLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Config{LiveFirst: true})
		for range 4 * bestSamples {
			p := g.Ask(Class{"normal", true}, 100_000)
			<-p.Granted()
			time.Sleep(time.Second)
			p.Done()
			time.Sleep(10 * time.Minute)
		}
		if most := g.Status().BackfillMax; most < 140_000 || most > 160_000 {
			t.Errorf("a link of 100 kB/s and 1 s may have %d bytes", most)
		}
	})
}
