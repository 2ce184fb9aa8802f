package natssink

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"cistern/bridge/drain/sinktest"
)

// thorough asks for the runs that add little each and take long together.
var thorough = os.Getenv("CISTERN_THOROUGH") != ""

// TestCrashAtEveryStep kills a drainer at each of its steps; a successor goes on
// with the state that survived: without the lazy writes, or with them.
func TestCrashAtEveryStep(t *testing.T) {
	c := newCentral(t)
	c.storage = "memory" // some hundred streams; the server does not crash here
	for way, more := range ways {
		for _, keepLazy := range []bool{false, true} {
			if !thorough && keepLazy == (way == "single") {
				continue // half of the four combinations
			}
			t.Run(fmt.Sprintf("%s, lazy kept %v", way, keepLazy), func(t *testing.T) {
				points, stride := 0, 1
				if way == "single" && !thorough {
					stride = 3 // it has many alike
				}
				for at := 1; c.crashOnce(t, at, more, keepLazy) && !t.Failed(); at += stride {
					points++
				}
				t.Logf("%d crash points", points)
				if points < 20 {
					t.Errorf("only %d crash points: the drainer was not seen at work", points)
				}
			})
		}
	}
}

// crashOnce reports whether the drainer crashed: it has that many steps.
func (c *central) crashOnce(t *testing.T, at int, more string, keepLazy bool) bool {
	stream := name("crash")
	c.stream(stream, more)
	defer c.request("$JS.API.STREAM.DELETE."+stream, "")
	a, b := sinktest.NewLog("s", 0).Fill(t, 4, 5), sinktest.NewLog("s", 1).Fill(t, 2, 3)
	crash := sinktest.NewCrash(at)
	state := sinktest.NewState()
	state.Step = crash.Step
	cfg := c.config(stream)
	cfg.Client.Dial = crash.Dial
	g := sinktest.Start(t, sink(t, cfg), sinktest.Setup{State: state}, a, b)
	g.Drained(crash.Dead, a, b)
	g.Stop()

	after := sinktest.Start(t, sink(t, c.config(stream)), sinktest.Setup{State: state.Survive(keepLazy)}, a, b)
	after.Drained(nil, a, b)
	after.Stop()
	c.expect(stream, fmt.Sprintf("crashed at step %d, %s", at, crash.Where()), a, b)
	select {
	case <-crash.Dead:
		return true
	default:
		return false
	}
}

// TestFight lets two drainers drain the same log with the same state, each cut
// off at random: the zombie of the other.
func TestFight(t *testing.T) {
	c := newCentral(t)
	for way, more := range ways {
		t.Run(way, func(t *testing.T) {
			stream := name("fight")
			c.stream(stream, more)
			l := sinktest.NewLog("s", 0).Fill(t, 1, 10)
			state := sinktest.NewState()
			first := sinktest.Start(t, sink(t, c.config(stream)), sinktest.Setup{State: state}, l)
			first.Drained(nil, l) // the incarnation is agreed
			first.Stop()

			var lines [2]sinktest.Line
			var gateways [2]*sinktest.Gateway
			for i := range gateways {
				cfg := c.config(stream)
				cfg.Client.Dial = lines[i].Dial
				gateways[i] = sinktest.Start(t, sink(t, cfg), sinktest.Setup{State: state}, l)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			for range 60 {
				l.Append(t, 1+rng.IntN(20))
				lines[rng.IntN(2)].Cut()
				time.Sleep(time.Duration(rng.IntN(10)) * time.Millisecond) // load, not a wait
			}
			for _, g := range gateways {
				g.Drained(nil, l)
				g.Stop()
			}
			c.expect(stream, "after the fight", l)
		})
	}
}

// TestServerRestart stops the server and starts it again with its files, while
// records come in.
func TestServerRestart(t *testing.T) {
	for way, more := range ways {
		t.Run(way, func(t *testing.T) {
			c := newCentral(t)
			stream := name("restart")
			c.stream(stream, more)
			a, b := sinktest.NewLog("s", 0).Fill(t, 5, 10), sinktest.NewLog("s", 1).Fill(t, 5, 10)
			g := sinktest.Start(t, sink(t, c.config(stream)), sinktest.Setup{}, a, b)
			for range 4 {
				var group sync.WaitGroup
				group.Go(func() {
					for range 30 {
						a.Append(t, 7)
						b.Append(t, 2)
					}
				})
				c.stop()
				group.Wait()
				g.Until("the uplink is called down", isDown)
				c.start()
				g.Drained(nil, a, b)
			}
			c.expect(stream, "after four restarts", a, b)
		})
	}
}
