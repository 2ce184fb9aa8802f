package agent

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"cistern/agent/status"
	"cistern/firmware/board"
	"cistern/gossip/porttest"
	"cistern/gossip/sitekey"
)

// liveTwo are two gateways of a site, with something to lead for each. They start again
// at the same addresses: raft has a race of its own when one changes.
func liveTwo(t *testing.T) (gateways [2]*lived) {
	t.Helper()
	key, err := sitekey.Generate()
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "site.key")
	if err := key.Save(keyFile); err != nil {
		t.Fatal(err)
	}
	ports := []int{porttest.Number(t), porttest.Number(t)}
	for i := range gateways {
		gateways[i] = live(t, fmt.Sprintf("[gateway]\nname = 'g%d'\n[site]\nkey_file = %q\ngossip = '127.0.0.1:%d'\nlisten = %q\njoin = ['127.0.0.1:%d']\nbootstrap_expect = 2\nrebalance_after = '10s'\n[[stream]]\nname = 'mqtt'\npartitions = 4\n",
			i, keyFile, ports[i], porttest.Reserve(t), ports[1-i]), nil)
	}
	awaitBoth(t, gateways, 0)
	return gateways
}

// awaitBoth waits until both lead, follow each other, agree, and know of a g0 that is
// another than that one. It returns which.
func awaitBoth(t *testing.T, gateways [2]*lived, before uint64) (g0 uint64) {
	t.Helper()
	await(t, "both lead, and follow each other", func() bool {
		for _, g := range gateways {
			d := g.up()
			m := d.Site.Member("g0")
			if m == nil || m.Incarnation == before || d.Site.Quorum.Leader == "" ||
				leads(d, "g0") != 2 || leads(d, "g1") != 2 || inSync(d, "g0") != 4 || inSync(d, "g1") != 4 {
				return false
			}
			g0 = m.Incarnation
		}
		return true
	})
	return g0
}

func leads(d *status.Document, name string) int {
	return count(d, func(p *status.Partition) bool { return p.Leader == name })
}

func inSync(d *status.Document, name string) int {
	return count(d, func(p *status.Partition) bool { return slices.Contains(p.ISR, name) })
}

func count(d *status.Document, is func(*status.Partition) bool) (n int) {
	for _, s := range d.Streams {
		for i := range s.Partitions {
			if is(&s.Partitions[i]) {
				n++
			}
		}
	}
	return n
}

// isDraining says whether a gateway sees the other under the order to lead nothing.
func isDraining(d *status.Document, name string) bool {
	m := d.Site.Member(name)
	return m != nil && m.Draining
}

// The button has the gateway's leaderships handed over before it stops; when it is
// started again the order is taken back, and it may lead.
func TestButtonOnASite(t *testing.T) {
	g := liveTwo(t)
	g[0].tell(board.ButtonHeld)
	g[0].shows(board.SafeToCut)
	await(t, "g1 leads all, for g0 was ordered to lead nothing", func() bool {
		d := g[1].up()
		return leads(d, "g1") == 4 && isDraining(d, "g0")
	})
	g[0].tell(board.ButtonHeld)
	await(t, "the order is taken back", func() bool { return !isDraining(g[1].up(), "g0") })
	await(t, "g0 is in sync", func() bool { return inSync(g[1].up(), "g0") == 4 })
	g[0].up()
}

// An order of an operator's is not the button's to take back.
func TestButtonAfterDrainNode(t *testing.T) {
	g := liveTwo(t)
	socket, err := g[0].config.SocketPath()
	if err != nil {
		t.Fatal(err)
	}
	if err := status.NewClient(socket).DrainNode(t.Context(), "g0", true); err != nil {
		t.Fatal(err)
	}
	g[0].tell(board.ButtonHeld)
	g[0].shows(board.SafeToCut)
	g[0].tell(board.ButtonHeld)
	await(t, "g0 is in sync again", func() bool { return inSync(g[0].up(), "g0") == 4 })
	if !isDraining(g[0].up(), "g0") {
		t.Error("the operator's order is gone")
	}
}

// When the power of one gateway goes, the other leads as soon as that one is clean:
// nobody waits for it to be missed. It is no majority, so it leads only if that one
// could hand over in the moment that it takes for it.
func TestPowerFailsOnASite(t *testing.T) {
	g := liveTwo(t)
	limit := 4*powerPartMax + powerCommitMax + 2*powerSayMax + powerStoreMax
	last := uint64(0)
	inTime(t, limit, func(int) time.Duration {
		last = awaitBoth(t, g, last)
		edge := g[0].tell(board.PowerFailed)
		g[0].shows(board.SafeToCut)
		took := time.Since(edge)
		if !g[1].soonLeads(4) {
			t.Logf("g1 leads %d of 4", leads(g[1].up(), "g1"))
			took = limit + 1 // another cycle
		}
		g[0].tell(board.PowerBack)
		await(t, "g0 is in sync again", func() bool { return inSync(g[1].up(), "g0") == 4 })
		if d := g[0].up(); d.Board.PowerFail == nil || !d.Board.PowerFail.Clean || !d.Board.PowerFail.At.Equal(edge) {
			t.Errorf("%+v", d.Board.PowerFail)
		}
		return took
	})
}

// soonLeads waits until g1 has heard of what was agreed on.
func (l *lived) soonLeads(n int) bool {
	for end := time.Now().Add(5 * time.Second); leads(l.up(), "g1") != n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
