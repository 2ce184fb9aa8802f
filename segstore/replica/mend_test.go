package replica

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// fill delivers batches of ten records and returns them.
func (w *town) fill(d *producerDouble, batches int) (all [][]byte) {
	for range batches {
		one := d.batch(w.t, 10)
		w.insist(one, townStream)
		all = append(all, one)
	}
	return all
}

// rot flips a bit of a batch as it lies on the gateway's flash.
func (g *box) rot(one []byte) {
	t := g.town.t
	t.Helper()
	records, found := one[batch.HeaderLen:], 0
	err := filepath.WalkDir(g.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if i := bytes.Index(b, records); err == nil && i >= 0 {
			found++
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte{b[i+5] ^ 0x10}, int64(i+5))
			return err
		}
		return err
	})
	if err != nil || found != 1 {
		t.Fatalf("the batch lies in %d files of gateway %d: %v", found, g.node, err)
	}
}

// mends asks until it is known what becomes of a range.
func (g *box) mends(first, last int64) Mending {
	ended, cancel := g.m.WatchMends()
	defer cancel()
	limit := time.After(20 * time.Second)
	for {
		if said := g.m.Mend(townStream, first, last); said != Underway {
			return said
		}
		select {
		case <-ended:
		case <-time.After(10 * time.Millisecond): // the range may have been known already
		case <-limit:
			g.town.t.Fatalf("%d to %d: still underway: %+v", first, last, g.m.Mends())
		}
	}
}

// readMending reads all that is confirmed as a drain does. What is nowhere is left
// out, and counted.
func (g *box) readMending() (all []byte, lost int64) {
	t := g.town.t
	t.Helper()
	log := g.store.Log(townStream)
	for at := log.StartOffset(); at < log.HighWatermark(); {
		n := len(all)
		var err error
		all, err = log.Read(at, all, 1<<20)
		c := (*segstore.CorruptError)(nil)
		switch {
		case errors.As(err, &c):
			if g.mends(c.FirstOffset, c.LastOffset) == Nowhere {
				lost += c.LastOffset + 1 - at
				at = c.LastOffset + 1
			}
			continue
		case err != nil:
			t.Fatal(err)
		}
		for rest := all[n:]; len(rest) > 0; {
			h, err := batch.Verify(rest[:must(batch.ParseHeader(rest)).Size()])
			if err != nil {
				t.Fatal(err)
			}
			at, rest = h.NextOffset(), rest[h.Size():]
		}
	}
	return all, lost
}

func must(h batch.Header, err error) batch.Header {
	if err != nil {
		panic(err)
	}
	return h
}

// intact returns the bytes of a copy that nothing has happened to.
func (g *box) intact() []byte { return readAll(g.town.t, g.store.Log(townStream)) }

func (w *town) others(g *box) (all []*box) {
	for _, o := range w.gateways {
		if o != g {
			all = append(all, o)
		}
	}
	return all
}

// TestMendLeader: what rots on the leader's flash comes back from its followers, and
// on a follower's from the others.
func TestMendLeader(t *testing.T) {
	for name, pick := range map[string]func(w *town) *box{
		"leader":   func(w *town) *box { return w.leader(townStream) },
		"follower": func(w *town) *box { return w.others(w.leader(townStream))[0] },
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t, 3, 1, 2)
			sent := w.fill(&producerDouble{id: 1<<40 + 7}, 40)
			w.agree(townStream, 400)
			g := pick(w)
			want := g.intact()
			for _, i := range []int{1, 7, 8, 9, 25, 39} { // some in a row, and the last
				g.rot(sent[i])
			}
			got, lost := g.readMending()
			if lost != 0 || !bytes.Equal(got, want) {
				t.Fatalf("%d records lost, %d bytes of %d", lost, len(got), len(want))
			}
			if n := g.m.Stats().Mended; n != 60 {
				t.Errorf("%d records mended, want 60", n)
			}
			if n := len(g.m.Mends()); n != 0 {
				t.Errorf("%d ranges still wait", n)
			}
			// It is durable: the next process needs nobody.
			g.kill()
			for _, o := range w.others(g) {
				o.kill()
			}
			g.start()
			log := g.store.Log(townStream)
			if got, err := log.ReadPlaced(0, nil, 1<<20); err != nil || !bytes.HasPrefix(want, got) || len(got) == 0 {
				t.Errorf("after a restart: %d bytes of %d, %v; begins %v", len(got), len(want), err, offsetsOf(got))
			}
		})
	}
}

// TestMendFromSeveral: what one copy lacks another has. What none has is told apart
// from what lies around it.
func TestMendFromSeveral(t *testing.T) {
	w := newTown(t, 3, 1, 2)
	sent := w.fill(&producerDouble{id: 1<<40 + 7}, 20)
	w.agree(townStream, 200)
	g := w.leader(townStream)
	one, other := w.others(g)[0], w.others(g)[1]
	for i := 5; i < 11; i++ {
		g.rot(sent[i])
	}
	one.rot(sent[5])
	other.rot(sent[6])
	one.rot(sent[8])
	other.rot(sent[8]) // 80 to 89 are nowhere
	_, lost := g.readMending()
	if n := g.m.Stats().Mended; lost != 10 || n != 50 {
		t.Errorf("%d records lost and %d mended, want 10 and 50", lost, n)
	}
	// A range that is asked for as a whole says that there is something to read.
	if said := g.mends(80, 109); said != Mended {
		t.Errorf("80 to 109: %d", said)
	}
	if said := g.mends(80, 89); said != Nowhere {
		t.Errorf("80 to 89: %d", said)
	}
}

// TestMendAwaits: as long as a copy is not in reach that may be the only one, what it
// may have is not given up; and it is said who is waited for. That it is back is
// noticed before its silence is over.
func TestMendAwaits(t *testing.T) {
	w := newTown(t, 2, 1, 1)
	sent := w.fill(&producerDouble{id: 1<<40 + 7}, 4)
	w.agree(townStream, 40)
	g := w.leader(townStream)
	other := w.others(g)[0]
	want := g.intact()
	g.m.mender.pause = mendSilenceMax // as it is outside of tests; it looks when something is lost
	const tries = 3                   // the machine may stand still in one
	for try := 1; ; try++ {
		other.kill()
		w.fence(other)
		g.rot(sent[try])
		w.awaits(g, other, int64(10*try))
		other.start()
		began := time.Now()
		if got, lost := g.readMending(); lost != 0 || !bytes.Equal(got, want) {
			t.Fatalf("%d records lost, %d bytes of %d", lost, len(got), len(want))
		}
		took := time.Since(began)
		if took < mendSilenceMin/2 {
			return
		}
		if try == tries {
			t.Fatalf("it was noticed after %s that the other is back", took)
		}
		w.until("in sync", func() bool { return w.joined(other) })
	}
}

// awaits waits until g is said to wait for the other, with ten records it lost.
func (w *town) awaits(g, other *box, first int64) {
	w.t.Helper()
	w.until("waited for", func() bool {
		if said := g.m.Mend(townStream, first, first+9); said != Underway {
			w.t.Fatalf("said %d, and the other copy was not asked", said)
		}
		waits := g.m.Mends()
		if len(waits) != 1 || len(waits[0].Awaits) != 1 {
			return false
		}
		if s := waits[0]; s.Awaits[0] != other.node || s.First != first || s.Last != first+9 || s.Reason == "" {
			w.t.Fatalf("%+v", s)
		}
		return true
	})
}

// TestMendAlone: without another copy nothing is waited for.
func TestMendAlone(t *testing.T) {
	w := newTown(t, 1, 1, 1)
	sent := w.fill(&producerDouble{id: 1<<40 + 7}, 3)
	g := w.gateways[0]
	g.rot(sent[1])
	if said := g.m.Mend(townStream, 10, 19); said != Nowhere {
		t.Errorf("said %d", said)
	}
	if _, lost := g.readMending(); lost != 10 {
		t.Errorf("%d records lost", lost)
	}
}

// TestMendFollowers: a follower that begins with an empty card gets what its leader
// lost as well, by way of another follower.
func TestMendFollowers(t *testing.T) {
	w := newTown(t, 3, 1, 2)
	sent := w.fill(&producerDouble{id: 1<<40 + 7}, 30)
	w.agree(townStream, 300)
	lead := w.leader(townStream)
	want := lead.intact()
	fresh := w.others(lead)[0]
	fresh.kill()
	w.fence(fresh)
	for _, i := range []int{3, 17, 18} {
		lead.rot(sent[i])
	}
	fresh.dir = t.TempDir()
	fresh.start()
	w.agreeMended(fresh, 300)
	if got := fresh.intact(); !bytes.Equal(got, want) {
		t.Errorf("the new card has %d bytes of %d", len(got), len(want))
	}
	if n := lead.m.Stats().Mended; n != 30 {
		t.Errorf("%d records mended", n)
	}
}

// agreeMended waits until a gateway has caught up.
func (w *town) agreeMended(g *box, end int64) {
	w.t.Helper()
	log := g.store.Log(townStream)
	for until := time.Now().Add(20 * time.Second); log.HighWatermark() != end; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			w.t.Fatalf("gateway %d: high watermark %d, end %d, want %d", g.node, log.HighWatermark(), log.EndOffset(), end)
		}
	}
}

// wrongPeers answer with what is not this partition's.
type wrongPeers struct {
	Peers
	answer *RecallAnswer
}

func (p *wrongPeers) Recall(context.Context, metadata.Member, *RecallRequest) (*RecallAnswer, error) {
	return p.answer, nil
}

// TestMendForeign: bytes that are no batches, or of another epoch or place, are
// never taken for what was lost, and never a reason to give it up.
func TestMendForeign(t *testing.T) {
	w := newTown(t, 2, 1, 1)
	sent := w.fill(&producerDouble{id: 1<<40 + 7}, 4)
	w.agree(townStream, 40)
	g := w.leader(townStream)
	good := append([]byte(nil), g.intact()[len(sent[0]):][:len(sent[1])]...)
	g.rot(sent[1])
	peers := &wrongPeers{Peers: g.m.cfg.Peers}
	g.m.cfg.Peers = peers
	damaged := append([]byte(nil), good...)
	damaged[len(damaged)-1] ^= 1
	epoch := append([]byte(nil), good...)
	batch.Stamp(epoch, 10, must(batch.ParseHeader(good)).LeaderEpoch+1)
	for name, raw := range map[string][]byte{"damaged": damaged, "another epoch": epoch, "noise": bytes.Repeat([]byte{7}, 200), "nothing": nil} {
		peers.answer = &RecallAnswer{Records: raw}
		got := g.m.mender.recall(t.Context(), townStream, 10, 19)
		if got.records != 0 {
			t.Errorf("%s: taken", name)
		}
		if !got.waits() {
			t.Errorf("%s: given up", name)
		}
	}
	peers.answer = &RecallAnswer{Records: good}
	if got := g.m.mender.recall(t.Context(), townStream, 10, 19); got.records != 10 || got.next != 20 {
		t.Errorf("the right one: %+v", got)
	}
}

// TestMendUnproven: what another copy sends and nothing proves is not given up, and it
// is not said that the gateway does not answer: it did.
func TestMendUnproven(t *testing.T) {
	w := newTown(t, 2, 1, 1)
	sent := w.fill(&producerDouble{id: 1<<40 + 7}, 4)
	w.agree(townStream, 40)
	g := w.leader(townStream)
	other := w.others(g)[0]
	g.rot(sent[1])
	g.m.cfg.Peers = &wrongPeers{Peers: g.m.cfg.Peers, answer: &RecallAnswer{Records: bytes.Repeat([]byte{7}, 200)}}
	s := g.waits(10, 19)
	if len(s.Awaits) != 0 || !slices.Equal(s.Unproven, []metadata.NodeID{other.node}) || !strings.Contains(s.Reason, "gateway g2") && !strings.Contains(s.Reason, "gateway g1") {
		t.Errorf("%+v", s)
	}
	g.m.cfg.Peers = &wrongPeers{Peers: g.m.cfg.Peers, answer: &RecallAnswer{Err: ErrNoLeader}}
	w.until("waited for", func() bool { s = g.waits(10, 19); return len(s.Awaits) == 1 && len(s.Unproven) == 0 })
}

// TestMendNoRoom: what came and can't be kept waits for nobody else, and is read from
// memory, a piece at a time; with room again it is kept.
func TestMendNoRoom(t *testing.T) {
	w := newTown(t, 2, 1, 1)
	sent := w.fill(&producerDouble{id: 1<<40 + 7}, 12)
	w.agree(townStream, 120)
	g := w.leader(townStream)
	want := g.intact()
	for _, i := range []int{1, 2, 5, 9} {
		g.rot(sent[i])
	}
	g.flash.full.Store(true)
	if got, lost := g.readMending(); lost != 0 || !bytes.Equal(got, want) {
		t.Errorf("%d records lost, %d bytes read of %d", lost, len(got), len(want))
	}
	all := g.m.Mends()
	if len(all) != 1 || len(all[0].Awaits)+len(all[0].Unproven) != 0 {
		t.Fatalf("%+v", all)
	}
	for _, part := range []string{errFull.Error(), "from memory", "replace the card, or make room"} {
		if !strings.Contains(all[0].Reason, part) {
			t.Errorf("the reason has no %q: %s", part, all[0].Reason)
		}
	}
	if n := g.m.Stats().Mended; n != 0 {
		t.Errorf("%d records are counted as mended", n)
	}
	g.flash.full.Store(false)
	w.until("kept", func() bool {
		g.m.Mend(townStream, 90, 99)
		return len(g.m.Mends()) == 0
	})
	if st := g.store.Stats(); st.PatchedRecords != 10 || g.m.Stats().Mended != 10 {
		t.Errorf("%+v, mended %d", st, g.m.Stats().Mended)
	}
}

// TestMendNoRoomBehindNowhere: what no copy has is said to be nowhere, though what
// follows it can only be read from memory.
func TestMendNoRoomBehindNowhere(t *testing.T) {
	w := newTown(t, 2, 1, 1)
	sent := w.fill(&producerDouble{id: 1<<40 + 7}, 4)
	w.agree(townStream, 40)
	g := w.leader(townStream)
	g.rot(sent[1])
	g.rot(sent[2])
	w.others(g)[0].rot(sent[1])
	g.flash.full.Store(true)
	if said := g.mends(10, 29); said != Mended || !g.store.Log(townStream).Lent(20) {
		t.Errorf("said %d, lent %v", said, g.store.Log(townStream).Lent(20))
	}
	if said := g.m.Mend(townStream, 10, 19); said != Nowhere {
		t.Errorf("of what is nowhere: %d", said)
	}
}

// TestMendNothingLost: what can be read after all is not counted as mended.
func TestMendNothingLost(t *testing.T) {
	w := newTown(t, 2, 1, 1)
	w.fill(&producerDouble{id: 1<<40 + 7}, 4)
	w.agree(townStream, 40)
	g := w.leader(townStream)
	if said := g.mends(10, 19); said != Mended || g.m.Stats().Mended != 0 {
		t.Errorf("said %d, %d counted as mended", said, g.m.Stats().Mended)
	}
}

// waits asks until it is said why a range is not back.
func (g *box) waits(first, last int64) (s MendStatus) {
	g.town.t.Helper()
	g.town.until("waited for", func() bool {
		if said := g.m.Mend(townStream, first, last); said != Underway {
			g.town.t.Fatalf("said %d", said)
		}
		all := g.m.Mends()
		if len(all) == 1 {
			s = all[0]
		}
		return s.Reason != ""
	})
	return s
}

func offsetsOf(run []byte) (all []int64) {
	for len(run) > 0 {
		h := must(batch.ParseHeader(run))
		all, run = append(all, h.BaseOffset), run[h.Size():]
	}
	return all
}
