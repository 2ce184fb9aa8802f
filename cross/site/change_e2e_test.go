//go:build e2e

package site

import (
	"os"
	"slices"
	"testing"
	"time"

	"cistern/agent/status"
)

// A fourth gateway joins a site of three under load and is given copies, calmly,
// and all of them come in sync. (45 s, beside others)
func TestFourthTakesItsShare(t *testing.T) {
	takeTurn(t)
	s := startSite(t, 3, Stream(3, 2))
	ctx := within(t, 5*time.Minute)
	f := s.StartFleet(ctx, 9, 5*interval, false, s.Gateways...)
	must(t, s.Ledger.AwaitConfirmed(ctx, 300))
	fourth, err := s.Add(3, "")
	must(t, err)
	joined := time.Now()
	must(t, fourth.Start(ctx))
	at := s.StartFleet(ctx, 3, 5*interval, false, fourth)
	must(t, s.Ledger.AwaitConfirmed(ctx, 100))
	kept := func(d *status.Document) (n int) {
		for _, p := range Partitions(d) {
			if slices.Contains(p.ISR, fourth.Gateway.Name) {
				n++
			}
		}
		return n
	}
	share := often(2, partitions*3/4)
	for had := 0; had < share; {
		d, err := s.Seen(ctx)
		must(t, err)
		if n := kept(d); n > had {
			had = n
			t.Logf("%d of %d partitions have a copy there, after %s", n, partitions, rounded(time.Since(joined)))
		}
		if ctx.Err() != nil {
			t.Fatalf("the fourth gateway keeps %d copies: %+v", had, d.Site.Members)
		}
		time.Sleep(50 * time.Millisecond)
	}
	finish(t, s, f, at)
}

// A gateway comes back with an empty card under its old name and is filled again.
// (10 s, beside others)
func TestNewCard(t *testing.T) {
	takeTurn(t)
	s := startSite(t, 3, Stream(3, 2))
	ctx := within(t, 3*stepMax)
	f := s.StartFleet(ctx, 9, interval, true, s.Gateways...)
	must(t, s.Ledger.AwaitConfirmed(ctx, 2000))
	g := s.Gateways[0]
	g.Kill()
	must(t, os.RemoveAll(g.Data))
	must(t, s.Ledger.AwaitConfirmed(ctx, 200))
	began := time.Now()
	must(t, g.Start(ctx))
	must(t, s.AwaitInSync(within(t, healedMax)))
	t.Logf("filled again in %s", rounded(time.Since(began)))
	finish(t, s, f)
}

// A gateway that is away for longer than replace_after is replaced by another,
// which has everything then. The first one comes back to find its place taken,
// and nothing breaks. (90 s, beside others)
func TestReplacedWhenAwayTooLong(t *testing.T) {
	t.Parallel() // without a turn: it waits, mostly

	const after = time.Minute // the least that a configuration allows
	s := startSite(t, 4, Stream(3, 2))
	ctx := within(t, 5*time.Minute)
	d, err := s.Seen(ctx)
	must(t, err)
	away := s.named(Partitions(d)[0].Replicas[0])
	f := s.StartFleet(ctx, 3, 10*interval, true, s.Others(away)...)
	must(t, s.Ledger.AwaitConfirmed(ctx, 50))
	away.Kill()
	gone := time.Now()
	awaitPartitions(t, ctx, s, func(p *status.Partition) bool {
		return !slices.Contains(p.Replicas, away.Gateway.Name) && len(p.ISR) == 3
	})
	took := time.Since(gone)
	t.Logf("replaced %s after it died, replace_after is %s", rounded(took), after)
	if took < after {
		t.Error("too soon")
	}
	finish(t, s, f)
}

// The file of the first gateway names nobody to join. It is back before anybody
// could miss it, and has to be told by the others who they are. (8 s, beside others)
func TestFirstGatewayNamesNobody(t *testing.T) {
	takeTurn(t)
	s := startAs(t, 3, &Site{more: Stream(3, 2), oneWay: true})
	first := s.Gateways[0]
	for range often(3, 30) {
		began := time.Now()
		first.Kill()
		must(t, first.Start(t.Context()))
		must(t, first.AwaitStatus(within(t, healedMax), func(d *status.Document) bool {
			return d.Site != nil && d.Site.Self() != nil && !d.Site.Self().Fenced && d.Site.Self().Incarnation > 0 && len(d.Site.Members) == 3 && d.Site.Quorum.Leader != ""
		}))
		must(t, s.AwaitInSync(within(t, healedMax)))
		t.Logf("one of them again after %s", rounded(time.Since(began)))
	}
}
