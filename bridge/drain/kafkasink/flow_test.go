package kafkasink

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"cistern/bridge/drain"
	"cistern/gossip/metadata"
)

// liveFirst returns a log with a backlog of some age, and a setup that lets new
// records pass it.
func liveFirst(t *testing.T, mode Mode, stream string) (*memLog, setup) {
	log := newLog(stream, 0)
	for range 20 {
		log.appendAt(t, 10, metadata.CodecZstd, time.Now().Add(-time.Hour).UnixMilli(), 0)
	}
	s := in(mode, nil)
	s.order = drain.OrderLiveFirst
	return log, s
}

// eachOnce checks that all records of a log are there once, whatever the order.
func (c *central) eachOnce(t *testing.T, when string, topic string, log *memLog) {
	t.Helper()
	got := c.read(topic, 0)
	slices.Sort(got)
	var want []string
	for _, o := range offsets(0, log.HighWatermark()) {
		want = append(want, value(log.id, o))
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %d records upstream for %d here", when, len(got), len(want))
	}
}

// TestFlows: each flow has a connection of its own, and the two together bring
// each record once.
func TestFlows(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			c := newCentral(t).as(mode)
			stream := c.name("flows")
			c.create(stream, 1)
			log, s := liveFirst(t, mode, stream)
			g := c.gateway(s, log)
			used := map[drain.Flow]bool{}
			g.until("both flows have had a connection", func(drain.Status) bool {
				g.sink.mu.Lock()
				defer g.sink.mu.Unlock()
				for way := range g.sink.windows {
					used[way.flow] = true
				}
				return used[drain.Live] && used[drain.Backfill]
			})
			log.fill(t, 5, 10)
			g.drained(log)
			g.stop()
			c.eachOnce(t, "two flows", stream, log)
		})
	}
}

// TestFlowsCrash kills a drainer with two flows at some of its steps.
func TestFlowsCrash(t *testing.T) {
	t.Parallel()
	apart := 5
	if thorough {
		apart = 1
	}
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			c := newCentral(t).as(mode)
			const together = 8
			points := 0
			for alive := true; alive; points += together {
				var group sync.WaitGroup
				crashed := make([]bool, together)
				for i := range together {
					group.Go(func() { crashed[i] = c.flowsCrash(t, mode, 1+(points+i)*apart) })
				}
				group.Wait()
				alive = crashed[together-1] && !t.Failed()
			}
			t.Logf("%d crash points", points)
		})
	}
}

func (c *central) flowsCrash(t *testing.T, mode Mode, at int) bool {
	stream := c.name("flows-crash")
	c.create(stream, 1)
	log, s := liveFirst(t, mode, stream)
	crash := newCrasher(at)
	s.state = newState()
	s.state.step = crash.step
	s.sink.Client.Dial = crash.dial
	g := c.gateway(s, log)
	log.fill(t, 3, 10)
	g.drainedOr(crash.dead, log)
	g.stop()
	log.fill(t, 3, 10)
	next := in(mode, s.state.survive(at%2 == 0))
	next.order = drain.OrderLiveFirst
	after := c.gateway(next, log)
	after.drained(log)
	after.stop()
	c.eachOnce(t, fmt.Sprintf("crashed at step %d, %s", at, crash.where), stream, log)
	select {
	case <-crash.dead:
		return true
	default:
		return false
	}
}
