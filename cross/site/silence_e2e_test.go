//go:build e2e

package site

import (
	"testing"
	"time"

	"cistern/agent/status"
)

// dropped is how many frames the network has not let through.
func dropped(t *testing.T, s *Site) int64 {
	t.Helper()
	n, err := s.Net.Dropped()
	must(t, err)
	return n
}

// Scenario 17: the leader of most is stopped and goes on, with requests in its
// sockets' buffers. What it answers then is of an epoch that has passed. (20 s)
func TestScenario17Paused(t *testing.T) {
	s := startSite(t, 3, Stream(3, 2))
	pauses := []time.Duration{200 * time.Millisecond, time.Second, 10 * time.Second}
	if long {
		pauses = append(pauses, time.Minute)
	}
	ctx := within(t, 5*time.Minute)
	f := s.StartFleet(ctx, 12, 5*time.Millisecond, true, s.Gateways...)
	for _, pause := range pauses {
		must(t, s.Ledger.AwaitConfirmed(ctx, 200))
		g, err := s.Leader(ctx)
		must(t, err)
		before := elections(t, s)
		f.Forget()
		s.Ledger.Forget()
		must(t, g.Pause())
		time.Sleep(pause)
		if pause > 5*time.Second { // longer than any detection
			d, err := s.Seen(ctx)
			must(t, err)
			if n := leads(d, g); len(n) > 0 {
				t.Errorf("stopped for %s, and still leads %v", pause, n)
			}
		}
		must(t, g.Resume())
		must(t, s.Ledger.AwaitConfirmed(ctx, 100))
		must(t, s.AwaitInSync(ctx))
		t.Logf("stopped for %s: %d elections, nobody confirmed for %s, devices waited %s", pause, elections(t, s)-before, rounded(s.Ledger.Waited()), quantiles(f.Waits()))
	}
	finish(t, s, f)
}

// Scenario 18: cuts that go one way, and one between two that both see the third.
// While a cut stands leaderships settle: at most 2 elections of a partition a
// minute. (60 s)
func TestScenario18PartialCuts(t *testing.T) {
	// Nobody gets leaderships back meanwhile: that would be one more change of leaders.
	s := startAs(t, 3, &Site{more: Stream(3, 2), stay: "10m"})
	a, b, c := s.Gateways[0], s.Gateways[1], s.Gateways[2]
	ctx := within(t, 5*time.Minute)
	for _, cut := range []struct {
		name string
		make func() error
	}{
		{"a to b", func() error { return s.Net.CutOneWay(a.Host, b.Host) }},
		{"b to a", func() error { return s.Net.CutOneWay(b.Host, a.Host) }},
		{"a is mute", func() error {
			for _, h := range []*Host{b.Host, c.Host, s.World} {
				if err := s.Net.CutOneWay(a.Host, h); err != nil {
					return err
				}
			}
			return nil
		}},
		{"a and b, both see c", func() error { return s.Net.Cut(a.Host, b.Host) }},
	} {
		f := s.StartFleet(ctx, 12, interval, true, s.Gateways...)
		must(t, s.Ledger.AwaitConfirmed(ctx, 200))
		must(t, s.AwaitInSync(ctx))
		was, frames := epochs(t, s), dropped(t, s)
		f.Forget()
		s.Ledger.Forget()
		must(t, cut.make())
		time.Sleep(time.Duration(often(10, 60)) * time.Second) // what is watched for is that nothing happens
		must(t, s.Ledger.AwaitConfirmed(ctx, 100))             // though the cut stands
		now := epochsOf(t, b)
		for p, epoch := range epochsOf(t, c) {
			now[p] = max(now[p], epoch)
		}
		most := int32(0)
		for p, epoch := range now {
			most = max(most, epoch-was[p])
		}
		frames = dropped(t, s) - frames
		t.Logf("%s: %d frames dropped, at most %d elections of one partition, nobody confirmed for %s, devices waited %s", cut.name, frames, most, rounded(s.Ledger.Waited()), quantiles(f.Waits()))
		if frames == 0 {
			t.Errorf("%s: nothing was cut", cut.name)
		}
		if most > 2 {
			t.Errorf("%s: %d elections of one partition while the cut stood; 2 are enough", cut.name, most)
		}
		heal(t, s)
		must(t, f.Stop())
	}
	finish(t, s)
}

// epochsOf are the leader epochs as one gateway knows them.
func epochsOf(t *testing.T, g *Gateway) map[int32]int32 {
	t.Helper()
	d, err := g.seen(within(t, stepMax))
	must(t, err)
	all := map[int32]int32{}
	for _, p := range Partitions(d) {
		all[p.Partition] = p.LeaderEpoch
	}
	return all
}

// Scenario 19: five gateways split in three and two, under load on both sides.
// The two could keep min_insync copies between them and must not confirm;
// afterwards all is one. (40 s)
func TestScenario19Split(t *testing.T) {
	s := startSite(t, 5, Stream(5, 2))
	major, minor := s.Gateways[:3], s.Gateways[3:]
	ctx := within(t, 15*time.Minute)
	inMajor := s.StartFleet(ctx, 9, interval, false, major...)
	inMinor := s.StartFleet(ctx, 6, interval, false, minor...)
	must(t, s.Ledger.AwaitConfirmed(ctx, 300))
	was := elections(t, s)
	for _, g := range minor {
		must(t, s.Net.CutOff(g.Host, Hosts(major...)...))
	}
	span := time.Duration(often(25, 600)) * time.Second
	cut := time.Now()
	time.Sleep(5 * time.Second) // detected by then
	inMajor.Forget()
	time.Sleep(span - 5*time.Second)
	t.Logf("after the first 5 s: devices with the majority waited %s, with the minority %s", quantiles(inMajor.Waits()), quantiles(inMinor.Waits()))
	if w := inMajor.Waited(nil); w > 5*time.Second {
		t.Errorf("a device with the majority waited %s while the site was split", w)
	}
	if w := inMinor.Waited(nil); w < time.Since(cut)/2 {
		t.Errorf("no device with the minority waited longer than %s: who confirmed them?", w)
	}
	if dropped(t, s) == 0 || elections(t, s) == was {
		t.Error("nothing was cut, or nobody was elected")
	}
	for _, g := range minor {
		d, err := g.seen(ctx)
		must(t, err)
		if !warned(d, status.SiteNoQuorum) {
			t.Errorf("%s is in the minority and does not say so: %+v", g.Gateway.Name, d.Health)
		}
	}
	finish(t, s, inMajor, inMinor)
}

// Scenario 20: members come and go while the site is cut: a is alone, b dies, d
// is taken out for good, a dies, in quick order. (20 s)
func TestScenario20MembersChangeInTheMiddle(t *testing.T) {
	s := startSite(t, 5, Stream(3, 2))
	a, b, c, d := s.Gateways[0], s.Gateways[1], s.Gateways[2], s.Gateways[3]
	ctx := within(t, 3*stepMax)
	f := s.StartFleet(ctx, 10, interval, true, a, b, c, s.Gateways[4])
	must(t, s.Ledger.AwaitConfirmed(ctx, 300))
	was := elections(t, s)
	first, err := d.seen(ctx)
	must(t, err)
	anew := func(of *status.Document) bool { // in the site, as somebody that it did not know before
		m := of.Site.Self()
		return m != nil && m.Incarnation > 0 && m.ID != first.Site.Self().ID
	}
	d.Kill() // d is to be removed: its process first
	must(t, s.Net.CutOff(a.Host, Hosts(s.Others(a)...)...))
	b.Kill()
	must(t, b.Start(ctx))
	var out string
	for try := 0; ; try++ { // until the others know that d is dead
		if out, err = c.Run("site", "remove", d.Gateway.Name); err == nil || try > 200 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		t.Fatalf("site remove: %v\n%s", err, out)
	}
	a.Kill()
	must(t, a.Start(ctx))
	must(t, s.Ledger.AwaitConfirmed(ctx, 100))
	if dropped(t, s) == 0 {
		t.Error("nothing was cut")
	}
	// c stays with the majority: a, which is cut off, hears of no election.
	must(t, c.AwaitStatus(ctx, func(of *status.Document) bool { return changes(of) > was }))
	// d comes back with an old log: it stays out, and hears why. Or a gateway that was
	// away as well still has it as one of raft's servers and speaks to it, and it
	// registers. It is never left without a word.
	must(t, s.Net.Heal())
	must(t, d.Start(ctx))
	removed := false
	must(t, d.AwaitStatus(ctx, func(of *status.Document) bool {
		removed = of.Site.Quorum.Removed
		return removed || anew(of)
	}))
	t.Logf("it heard that it was removed: %v", removed)
	if removed { // once it has forgotten the site it comes in, with all that its flash has
		must(t, d.Terminate())
		out, err = d.Run("site", "forget", "--yes")
		if err != nil {
			t.Fatalf("site forget: %v\n%s", err, out)
		}
		must(t, d.Start(ctx))
		must(t, d.AwaitStatus(ctx, anew))
	}
	finish(t, s, f)
}
