package replica

import "testing"

// killWith ends a gateway, and leaves these small facts of its copy. None: flash lost
// them, too, so that the next process reads the log from its start.
func (g *box) killWith(small []byte) {
	g.town.mu.Lock()
	g.dead = true
	g.town.mu.Unlock()
	g.stop()
	if err := g.store.State().PutSync(factsKey(townStream), small); err != nil {
		g.town.t.Fatal(err)
	}
	g.store.Close()
}

// rotten is a site of two, one gateway of which starts without the last batches that
// a producer sent, in mid-log.
type rotten struct {
	*town
	g, other *box
	end      int64
	late     [][]byte       // what rotted: a retry of each may still be on its way
	sender   producerDouble // goes on behind them
}

func newRotten(t *testing.T) *rotten {
	w := &rotten{town: newTown(t, 2, 1, 1), sender: producerDouble{id: 1<<40 + 7}}
	others := &producerDouble{id: 1<<40 + 8}
	w.fill(others, 10)
	w.fill(&w.sender, 2)
	w.late = w.fill(&w.sender, 2)
	w.fill(others, 10)
	w.end = 240
	w.agree(townStream, w.end)
	w.setMute(true)
	w.g = w.leader(townStream)
	w.other = w.others(w.g)[0]
	w.g.killWith(facts{}.encode())
	w.fence(w.g)
	for _, one := range w.late {
		w.g.rot(one)
	}
	w.g.start()
	w.until("waited for", func() bool { return len(w.g.m.Mends()) == 1 && w.g.m.Mends()[0].Reason != "" })
	return w
}

// lead has the healed gateway lead, alone.
func (w *rotten) lead() {
	w.t.Helper()
	w.until("in sync", func() bool { return w.joined(w.g) })
	w.agreeMended(w.g, w.end)
	w.other.kill()
	w.fence(w.other)
	w.until("leader", func() bool { return w.leader(townStream) == w.g })
}

// unhold has it follow on before it is mended.
func (w *rotten) unhold() {
	l := w.g.m.local(townStream)
	l.mu.Lock()
	l.heals.until = 0
	l.mu.Unlock()
}

// once sends again what rotted. It is in the log already.
func (w *rotten) once() {
	w.t.Helper()
	for i := len(w.late) - 1; i >= 0; i-- {
		if err := w.g.deliver(w.late[i], townStream); err != nil {
			w.t.Errorf("a late retry: %v", err)
		}
	}
	if end := w.g.store.Log(townStream).EndOffset(); end != w.end {
		w.t.Errorf("the log ends at %d, want %d: records are there twice", end, w.end)
	}
	if err := w.g.deliver(w.sender.batch(w.t, 10), townStream); err != nil {
		w.t.Errorf("what the producer sends next: %v", err)
	}
}

// TestHealProducers: a copy that was healed knows who had sent what was lost, before
// it can lead.
func TestHealProducers(t *testing.T) {
	w := newRotten(t)
	w.setMute(false)
	w.lead()
	w.once()
}

// The same for what comes back while it leads.
func TestHealProducersOfALeader(t *testing.T) {
	w := newRotten(t)
	w.unhold()
	w.lead()
	w.setMute(false)
	w.other.start()
	w.until("mended", func() bool { return w.g.m.Stats().Mended == 20 })
	w.until("leader", func() bool { return w.leader(townStream) == w.g })
	w.once()
}

// TestHealProducersAfterACrash: the process ended when a patch was durable and the
// table that is kept did not have its batches yet.
func TestHealProducersAfterACrash(t *testing.T) {
	w := newRotten(t)
	w.unhold()
	w.until("in sync", func() bool { return w.joined(w.g) })
	w.agreeMended(w.g, w.end)
	l := w.g.m.local(townStream)
	l.mu.Lock()
	l.save()
	l.mu.Unlock()
	old := w.g.store.State().Get(factsKey(townStream))
	if f, err := loadFacts(w.g.store.State(), townStream); err != nil || f.HighWatermark != w.end {
		t.Fatalf("%+v, %v", f, err)
	}
	w.setMute(false)
	w.until("mended", func() bool { return w.g.m.Stats().Mended == 20 })
	w.g.killWith(old)
	w.fence(w.g)
	w.g.start()
	w.lead()
	w.once()
}

// What was cut off meanwhile is not learned from a patch that came late.
func TestHealProducersCut(t *testing.T) {
	w := newTown(t, 1, 1, 1)
	d := &producerDouble{id: 1<<40 + 7}
	w.fill(d, 4)
	l := w.gateways[0].m.local(townStream)
	l.mu.Lock()
	l.p.cutting, l.p.cutTo = true, 20
	l.p.rollback(20)
	l.mu.Unlock()
	l.recovered(10, 40)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.p.cutting = false
	if p := l.p.producers.byID[d.id]; p == nil || p.lastEnd() != 20 || l.p.producers.End() != 20 {
		t.Errorf("%+v", l.p.producers)
	}
}
