package replica

import (
	"testing"
	"time"
)

// TestManagerTellsWhatWasDrained: a follower drains. The leader learns how far
// from its fetches, and the other follower from the leader, so that retention
// frees on each. Nobody believes that more was drained than is confirmed.
func TestManagerTellsWhatWasDrained(t *testing.T) {
	w := newTown(t, 3, 1, 2)
	d := &producerDouble{id: 1}
	leader := w.leader(townStream)
	drainer := w.gateways[leader.node%3]
	for round := range int64(3) {
		for range 10 {
			w.insist(d.batch(t, 2), townStream)
		}
		end := 24*round + 20
		w.agree(townStream, end)
		drainer.store.Log(townStream).SetDrained(end - 5)
		for range 2 { // an idle follower asks again within FetchWaitMax
			w.insist(d.batch(t, 2), townStream)
			w.agree(townStream, end+2)
			end += 2
		}
		end -= 4
		until := time.Now().Add(2*FetchWaitMax + 10*time.Second)
		for _, g := range w.gateways {
			for g.store.Log(townStream).Drained() != end-5 {
				if time.Now().After(until) {
					t.Fatalf("gateway %d knows of %d drained records, the leader of %d; it is %d", g.node,
						g.store.Log(townStream).Drained(), leader.store.Log(townStream).Drained(), end-5)
				}
				time.Sleep(time.Millisecond)
			}
		}
	}
}
