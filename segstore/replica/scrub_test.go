package replica

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// round reads all that a gateway keeps once.
func (s *scrubber) round(t *testing.T) {
	t.Helper()
	s.at = s.after(s.at.id)
	kept, before := s.m.all()[0].log.Bytes(), s.m.Stats().Scrubbed
	for range 1000 {
		s.look()
		if s.at.offset >= s.m.local(townStream).log.HighWatermark() {
			return
		}
	}
	t.Fatalf("no end after %d bytes of %d", s.m.Stats().Scrubbed-before, kept)
}

// TestScrub: what rots where nobody reads it comes back all the same, on whoever leads
// and whoever follows.
func TestScrub(t *testing.T) {
	w := newTown(t, 3, 1, 2)
	sent := w.fill(&producerDouble{id: 1<<40 + 7}, 40)
	w.agree(townStream, 400)
	want := w.gateways[0].intact()
	for i, g := range w.gateways {
		for _, k := range []int{7 + i, 8 + i, []int{0, 20, 39}[i]} { // of some one copy is left
			g.rot(sent[k])
		}
	}
	for _, g := range w.gateways {
		s := &scrubber{m: g.m, every: time.Hour}
		s.round(t)
		if len(s.waits) == 0 {
			t.Fatalf("gateway %d: nothing is looked at again", g.node)
		}
		for until := time.Now().Add(20 * time.Second); len(s.waits) > 0; time.Sleep(time.Millisecond) {
			if s.lookAgain(); time.Now().After(until) {
				t.Fatalf("gateway %d: still waited for: %v", g.node, s.waits)
			}
		}
		if got := g.intact(); !bytes.Equal(got, want) {
			t.Errorf("gateway %d: %d bytes of %d", g.node, len(got), len(want))
		}
		before := g.m.Stats().Mended
		s.round(t)
		if len(s.waits) > 0 || g.m.Stats().Mended != before || before == 0 {
			t.Errorf("gateway %d: the next round found more: %v", g.node, s.waits)
		}
	}
}

// TestScrubGoesOn: a gateway on its own has nobody to ask, and reads the rest; one that
// waits for another does, too.
func TestScrubGoesOn(t *testing.T) {
	for _, n := range []int{1, 2} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newTown(t, n, 1, 1)
			sent := w.fill(&producerDouble{id: 1<<40 + 7}, 20)
			w.agree(townStream, 200)
			g := w.leader(townStream)
			for _, o := range w.others(g) {
				o.kill()
				w.fence(o)
			}
			g.rot(sent[5])
			g.rot(sent[11])
			s := &scrubber{m: g.m, every: time.Hour}
			s.round(t)
			s.lookAgain()
			if want := 2 * (n - 1); len(s.waits) != want {
				t.Errorf("%v is waited for, which should be %d", s.waits, want)
			}
			if read, kept := g.m.Stats().Scrubbed, g.store.Log(townStream).Bytes(); read < kept*8/10 || read > kept {
				t.Errorf("read %d bytes of %d", read, kept)
			}
		})
	}
}

// TestScrubRuns: by itself, from anywhere, and all of it.
func TestScrubRuns(t *testing.T) {
	w := newTown(t, 2, 3, 1)
	sent := w.fill(&producerDouble{id: 1<<40 + 7}, 20)
	w.agree(townStream, 200)
	g := w.leader(townStream)
	g.rot(sent[3])
	g.rot(sent[16])
	ended, cancel := g.m.WatchMends()
	defer cancel()
	g.m.background((&scrubber{m: g.m, every: time.Millisecond}).run)
	for limit := time.After(20 * time.Second); g.m.Stats().Mended < 20; {
		select {
		case <-ended:
		case <-limit:
			t.Fatalf("%d records mended, %d bytes read", g.m.Stats().Mended, g.m.Stats().Scrubbed)
		}
	}
}

// TestScrubPause: a round takes as long as it is to take, whatever is kept.
func TestScrubPause(t *testing.T) {
	w := newTown(t, 1, 1, 1)
	w.fill(&producerDouble{id: 1<<40 + 7}, 4)
	w.agree(townStream, 40)
	kept := w.gateways[0].store.Log(townStream).Bytes()
	s := &scrubber{m: w.gateways[0].m, every: time.Hour / 2}
	for _, test := range []struct {
		read int64
		want time.Duration
	}{{kept / 2, time.Hour / 4}, {kept, time.Hour / 2}, {10 * kept, time.Hour / 2}, {0, scrubPauseMin}} {
		if got := s.pause(test.read); got.Round(time.Minute) != test.want.Round(time.Minute) {
			t.Errorf("after %d bytes of %d: %s, want %s", test.read, kept, got, test.want)
		}
	}
	s.every = 10 * 365 * 24 * time.Hour
	if got := s.pause(kept); got != scrubPauseMax {
		t.Errorf("%s", got)
	}
}
