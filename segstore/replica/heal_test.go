package replica

import (
	"bytes"
	"testing"
	"time"

	"cistern/gossip/metadata"
)

func (w *town) setMute(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mute = on
}

// joined reports whether a gateway is in sync.
func (w *town) joined(g *box) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.image.Partition(townStream).InISR(g.node)
}

func (w *town) until(what string, is func() bool) {
	w.t.Helper()
	for until := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			w.t.Fatalf("not %s", what)
		}
	}
}

// damaged starts a gateway, led or following, whose flash lost two batches while it
// was off.
func damaged(t *testing.T, w *town, leads bool) (g *box, want []byte) {
	sent := w.fill(&producerDouble{id: 1<<40 + 7}, 30)
	w.agree(townStream, 300)
	if g = w.leader(townStream); !leads {
		g = w.others(g)[0]
	}
	want = g.intact()
	g.kill()
	w.fence(g)
	g.rot(sent[7])
	g.rot(sent[20])
	g.start()
	if !mustHeal(g.store.State(), townStream) {
		t.Fatal("it does not know that there is something to mend")
	}
	return g, want
}

// TestHeal: a gateway that starts and finds that flash lost records fetches them
// again, and is in sync only then.
func TestHeal(t *testing.T) {
	for name, leads := range map[string]bool{"leader": true, "follower": false} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t, 3, 1, 2)
			w.setMute(true)
			g, want := damaged(t, w, leads)
			w.until("waited for", func() bool { return len(g.m.Mends()) == 1 && g.m.Mends()[0].Reason != "" })
			time.Sleep(3 * tickInterval) // in which it would have followed on
			if w.joined(g) {
				t.Fatal("it is in sync, and lacks records")
			}
			w.setMute(false)
			w.until("in sync", func() bool { return w.joined(g) })
			if n := g.m.Stats().Mended; n != 20 {
				t.Errorf("%d records mended when it is in sync", n)
			}
			w.agree(townStream, 300)
			if got := g.intact(); !bytes.Equal(got, want) {
				t.Errorf("%d bytes of %d", len(got), len(want))
			}
			if mustHeal(g.store.State(), townStream) {
				t.Error("it would be looked through again")
			}
		})
	}
}

// TestHealAgain: what was not fetched when the gateway stops is fetched after its
// next start, and it does not follow before.
func TestHealAgain(t *testing.T) {
	w := newTown(t, 3, 1, 2)
	w.setMute(true)
	g, want := damaged(t, w, false)
	w.until("waited for", func() bool { return len(g.m.Mends()) == 1 })
	g.kill()
	w.fence(g)
	g.start()
	if len(Unclean(g.store)) > 0 {
		t.Error("it says again that flash lost something: it would leave every ISR again")
	}
	w.until("waited for", func() bool { return len(g.m.Mends()) == 1 && g.m.Mends()[0].Reason != "" })
	if w.joined(g) {
		t.Fatal("it is in sync, and lacks records")
	}
	w.setMute(false)
	w.until("in sync", func() bool { return w.joined(g) })
	if got := g.intact(); !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d", len(got), len(want))
	}
}

// TestHealHold: a copy does not stay out of sync for ever for what a gateway may have
// that is away. It follows on, and goes on asking.
func TestHealHold(t *testing.T) {
	w := newTown(t, 3, 1, 2)
	w.setMute(true)
	g, want := damaged(t, w, false)
	w.until("waited for", func() bool { return len(g.m.Mends()) == 1 && g.m.Mends()[0].Reason != "" })
	l := g.m.local(townStream)
	l.mu.Lock()
	l.heals.until = 0
	l.mu.Unlock()
	w.until("in sync", func() bool { return w.joined(g) })
	if g.m.Stats().Mended != 0 {
		t.Fatal("there was nothing to wait for")
	}
	w.setMute(false)
	w.until("mended", func() bool { return g.m.Stats().Mended == 20 })
	w.agree(townStream, 300)
	if got := g.intact(); !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d", len(got), len(want))
	}
}

// TestHealNowhere: what nobody has is no reason to stay away.
func TestHealNowhere(t *testing.T) {
	w := newTown(t, 2, 1, 1)
	sent := w.fill(&producerDouble{id: 1<<40 + 7}, 30)
	w.agree(townStream, 300)
	lead := w.leader(townStream)
	g := w.others(lead)[0]
	g.kill()
	w.fence(g)
	g.rot(sent[7])
	lead.rot(sent[7])
	g.rot(sent[20])
	g.start()
	w.until("in sync", func() bool { return w.joined(g) })
	if n := g.m.Stats().Mended; n != 10 {
		t.Errorf("%d records mended, want those of the other batch", n)
	}
	if _, lost := g.readMending(); lost != 10 {
		t.Errorf("%d records lost", lost)
	}
}

// A copy that has no hole costs no mark.
func TestHealNothing(t *testing.T) {
	w := newTown(t, 1, 1, 1)
	w.fill(&producerDouble{id: 1<<40 + 7}, 3)
	g := w.gateways[0]
	if err := g.m.Heal([]metadata.PartitionID{townStream}); err != nil || mustHeal(g.store.State(), townStream) {
		t.Errorf("marked: %v", err)
	}
}
