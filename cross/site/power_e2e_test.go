//go:build e2e

package site

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"cistern/agent/status"
)

// dice are the same each run, as far as a scheduler allows.
func dice(n uint64) *rand.Rand { return rand.New(rand.NewPCG(20261122, n)) }

// epochs are the leader epochs of all partitions, as one running gateway knows.
func epochs(t *testing.T, s *Site) map[int32]int32 {
	t.Helper()
	d, err := s.Seen(within(t, stepMax))
	must(t, err)
	all := map[int32]int32{}
	for _, p := range Partitions(d) {
		all[p.Partition] = p.LeaderEpoch
	}
	return all
}

// awaitEpochs wants a newer epoch for every partition in was: its leader of then
// began anew.
func awaitEpochs(t *testing.T, s *Site, was map[int32]int32) {
	t.Helper()
	for ctx := within(t, healedMax); ; {
		now, behind := epochs(t, s), 0
		for p, epoch := range was {
			if now[p] <= epoch {
				behind++
			}
		}
		switch {
		case behind == 0:
			return
		case ctx.Err() != nil:
			t.Fatalf("epochs were %v and are %v: a leader goes on in the epoch of an earlier life", was, now)
		}
		time.Sleep(10 * time.Millisecond) // other processes: nothing to wait on
	}
}

// killAll takes the process of several gateways away in the same moment.
func killAll(gateways ...*Gateway) {
	done := make(chan struct{})
	for _, g := range gateways {
		go func() { g.Kill(); done <- struct{}{} }()
	}
	for range gateways {
		<-done
	}
}

func startAll(t *testing.T, s *Site, gateways ...*Gateway) {
	t.Helper()
	done := make(chan error)
	for _, g := range gateways {
		go func() { done <- g.Start(t.Context()) }()
	}
	for range gateways {
		must(t, <-done)
	}
}

// Scenario 1: a follower that holds records above the high watermark it knows of
// restarts, and its leader dies before it can be asked. What was confirmed must
// not be cut off by the one who leads next. (3 s, beside others)
func TestScenario01FollowerRestartsThenLeaderDies(t *testing.T) {
	takeTurn(t)
	s := startSite(t, 3, Stream(3, 2))
	ctx := within(t, 2*stepMax)
	f := s.StartFleet(ctx, 12, 0, true, s.Gateways...)
	before := elections(t, s)
	for range often(3, 30) {
		must(t, s.Ledger.AwaitConfirmed(ctx, 1000))
		leader, err := s.Leader(ctx)
		must(t, err)
		follower := s.Others(leader)[0]
		follower.Kill()
		started := make(chan error, 1)
		go func() { started <- follower.Start(t.Context()) }()
		leader.Kill()
		must(t, leader.Start(ctx))
		must(t, <-started)
		must(t, s.AwaitInSync(ctx))
	}
	if n := elections(t, s) - before; n == 0 {
		t.Error("nobody was elected")
	}
	finish(t, s, f)
}

// Scenarios 2 and 21: everyone's process ends in one moment, under load, again
// and again; tails differ by what was on its way. kill -9 leaves the kernel's
// cache alone: what a real power cut takes is for segstore and cross/sim. (25 s,
// beside others)
func TestScenario02And21AllDieTogether(t *testing.T) {
	takeTurn(t)
	s := startSite(t, 3, Stream(3, 2))
	ctx := within(t, 10*time.Minute)
	f := s.StartFleet(ctx, 12, 0, true, s.Gateways...)
	r := dice(21)
	var gaps []time.Duration
	for range often(10, 100) {
		must(t, s.Ledger.AwaitConfirmed(ctx, 100))
		time.Sleep(time.Duration(r.Int64N(int64(300 * time.Millisecond)))) // the moment is the input
		was := epochs(t, s)
		killAll(s.Gateways...)
		died := time.Now()
		startAll(t, s, s.Gateways...)
		must(t, s.Ledger.AwaitConfirmed(ctx, 1))
		gaps = append(gaps, time.Since(died))
		must(t, s.AwaitInSync(ctx))
		awaitEpochs(t, s, was)
	}
	t.Log("confirmed again after all died:", quantiles(gaps))
	finish(t, s, f)
}

// Scenario 11: the leader is back before anybody could have missed it. It must
// not go on in the epoch of its earlier life. (5 s, beside others)
func TestScenario11FastRestart(t *testing.T) {
	takeTurn(t)
	s := startSite(t, 3, Stream(3, 2))
	ctx := within(t, 2*stepMax)
	f := s.StartFleet(ctx, 9, 5*time.Millisecond, true, s.Gateways...)
	for range often(3, 30) {
		must(t, s.Ledger.AwaitConfirmed(ctx, 300))
		must(t, s.AwaitInSync(ctx))
		g, err := s.Leader(ctx)
		must(t, err)
		d, err := s.Seen(ctx)
		must(t, err)
		g.Kill()
		down := time.Now()
		must(t, g.Start(ctx))
		t.Logf("away for %s", time.Since(down).Round(time.Millisecond))
		must(t, s.AwaitInSync(ctx))
		led := map[int32]int32{} // and in which epoch
		for _, p := range Partitions(d) {
			if p.Leader == g.Gateway.Name {
				led[p.Partition] = p.LeaderEpoch
			}
		}
		awaitEpochs(t, s, led)
	}
	finish(t, s, f)
}

// Scenario 22: one gateway loses power while two others are paused, so that who
// comes first forms a quorum with it. Five gateways, so that three can. (10 s,
// beside others)
func TestScenario22FirstQuorumOfTheWeak(t *testing.T) {
	takeTurn(t)
	s := startSite(t, 5, Stream(3, 2))
	ctx := within(t, 2*stepMax)
	f := s.StartFleet(ctx, 10, 5*time.Millisecond, true, s.Gateways...)
	before := elections(t, s)
	r := dice(22)
	for range often(2, 20) {
		must(t, s.Ledger.AwaitConfirmed(ctx, 300))
		order := r.Perm(len(s.Gateways))
		weak, first, second := s.Gateways[order[0]], s.Gateways[order[1]], s.Gateways[order[2]]
		must(t, first.Pause())
		must(t, second.Pause())
		weak.Kill()
		must(t, weak.Start(ctx))
		time.Sleep(time.Duration(500+r.IntN(1500)) * time.Millisecond) // detected or not: both are wanted
		must(t, first.Resume())
		must(t, second.Resume())
		must(t, s.AwaitInSync(ctx))
	}
	if n := elections(t, s) - before; n == 0 {
		t.Error("nobody was elected")
	}
	finish(t, s, f)
}

// Scenario 23: random gateways are killed, for a minute. (60 s, beside
// others)
func TestScenario23RandomKills(t *testing.T) {
	takeTurn(t)
	s := startSite(t, 3, Stream(3, 2))
	span := time.Duration(often(45, 600)) * time.Second
	ctx := within(t, span+2*stepMax)
	f := s.StartFleet(ctx, 12, 5*time.Millisecond, true, s.Gateways...)
	before := elections(t, s)
	r := dice(23)
	kills := 0
	for end := time.Now().Add(span); time.Now().Before(end); kills++ {
		g := s.Gateways[r.IntN(len(s.Gateways))]
		g.Kill()
		time.Sleep(time.Duration(r.Int64N(int64(2 * time.Second))))
		must(t, g.Start(ctx))
		time.Sleep(time.Duration(r.Int64N(int64(time.Second))))
	}
	n := elections(t, s) - before
	t.Logf("%d kills, %d changes of leaders; waits of devices: %s", kills, n, quantiles(f.Waits()))
	if n == 0 {
		t.Error("nobody was elected")
	}
	finish(t, s, f)
	if n := s.Ledger.Tally().Confirmed; n < 1000 {
		t.Errorf("only %d messages were confirmed in %s: this proves little", n, span)
	}
}

// leads are the partitions that a gateway leads.
func leads(d *status.Document, g *Gateway) (all []int32) {
	for _, p := range Partitions(d) {
		if p.Leader == g.Gateway.Name {
			all = append(all, p.Partition)
		}
	}
	return all
}

// partitionName is how the program calls a partition of the stream.
func partitionName(p int32) string { return fmt.Sprintf("%s/%d", stream, p) }
