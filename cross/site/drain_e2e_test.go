//go:build e2e

package site

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cistern/agent/status"
)

// startDrained starts three gateways whose uplinks end at a host of their own,
// with times of an uplink that is missed sooner than a real one.
func startDrained(t *testing.T, dry string) *Site {
	t.Helper()
	return startAs(t, 3, &Site{
		apart: true, dry: dry, uplink: "timeout = \"2s\"\n", more: Stream(3, 2),
		member: "[site.timing]\ndrain_after = \"1s\"\ndrain_back_after = \"3s\"\n",
	})
}

// drainers counts the partitions that each gateway drains, "" those that none does,
// as g sees it. false is that it did not say.
func drainers(ctx context.Context, g *Gateway) (by map[string]int, said bool) {
	by = map[string]int{}
	d, err := g.seen(ctx)
	if err == nil {
		for _, p := range Partitions(d) {
			by[p.Drainer]++
		}
	}
	return by, len(by) > 0
}

// awaitDrainers returns when the one who is asked says that partitions are drained as
// wanted, within a step.
func awaitDrainers(t *testing.T, asked *Gateway, what string, wanted func(by map[string]int) bool) {
	t.Helper()
	var last map[string]int
	for ctx := within(t, stepMax); ; {
		if by, said := drainers(ctx, asked); said {
			if last = by; wanted(by) {
				return
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s; at %s partitions are drained by %v", what, asked.Gateway.Name, last)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// awaitDrainer returns when g is seen to drain everything, by those asked, and
// says how long it took.
func awaitDrainer(t *testing.T, g *Gateway, asked ...*Gateway) time.Duration {
	t.Helper()
	began := time.Now()
	for _, one := range asked {
		awaitDrainers(t, one, g.Gateway.Name+" does not drain everything", func(by map[string]int) bool { return by[g.Gateway.Name] == partitions })
	}
	return time.Since(began).Round(10 * time.Millisecond)
}

// arriving wants records to reach the centre from now on.
func arriving(t *testing.T, s *Site) {
	t.Helper()
	ctx := within(t, stepMax)
	before, err := s.Centre.Count(ctx, stream)
	must(t, err)
	for {
		now, err := s.Centre.Count(ctx, stream)
		must(t, err)
		if now >= before+200 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%d records at the centre, %d before", now, before)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// One modem serves the site: of three gateways one has a working uplink, one a
// dead one, one none at all. Then another's comes up and the first one's cable is
// pulled. (25 s, beside others)
func TestOneModem(t *testing.T) {
	takeTurn(t)
	s := startDrained(t, "gateway-3")
	a, b, c := s.Gateways[0], s.Gateways[1], s.Gateways[2]
	ctx := within(t, 5*time.Minute)
	must(t, s.Net.Cut(a.Host, s.Modem))
	f := s.StartFleet(ctx, 12, interval, true, s.Gateways...)
	t.Logf("all drained by %s, whose modem is the only one, after %s", b.Gateway.Name, awaitDrainer(t, b, a, b, c))
	if frames := dropped(t, s); frames == 0 {
		t.Error("nothing was cut")
	}
	arriving(t, s)
	frames := dropped(t, s)
	must(t, s.Net.Heal())
	must(t, s.Net.Cut(b.Host, s.Modem))
	t.Logf("all drained by %s after %s: the other modem", a.Gateway.Name, awaitDrainer(t, a, a, b, c))
	if dropped(t, s) == frames {
		t.Error("nothing was cut")
	}
	arriving(t, s)
	// Retention frees on all of them what one has drained.
	d, err := b.seen(ctx)
	must(t, err)
	for _, p := range Partitions(d) {
		if p.Role == status.RoleLeader && p.Backlog.Records == p.HighWatermark {
			t.Errorf("%s leads %d and has not heard that any of it was drained: %+v", b.Gateway.Name, p.Partition, p)
		}
	}
	finish(t, s, f)
}

// most returns the gateway that drains most, as the first sees it that says so, and how
// much that is.
func most(ctx context.Context, t *testing.T, s *Site) (*Gateway, int) {
	t.Helper()
	for _, asked := range s.Gateways {
		if !asked.Running() || asked.stopped {
			continue
		}
		by, said := drainers(ctx, asked)
		if !said {
			continue
		}
		best := asked
		for _, g := range s.Gateways {
			if by[g.Gateway.Name] > by[best.Gateway.Name] {
				best = g
			}
		}
		return best, by[best.Gateway.Name]
	}
	t.Fatal("nobody says who drains")
	return nil, 0
}

// behind is a rate that the drain can't keep up with: there is always something
// in flight, and in the buffers of sockets.
const behind = 20_000

// A gateway that drains is stopped in the middle of it, with requests in its
// sockets; another takes over; it goes on and does not know. Then the same with
// cuts between gateways, one way and the other, while every uplink works: the
// one that is cut off drains on beside the next. (45 s)
func TestTwoDrainers(t *testing.T) {
	s := startDrained(t, "")
	ctx := within(t, 5*time.Minute)
	f := s.StartFleet(ctx, 12, 5*time.Millisecond, true, s.Gateways...)
	s.Valve.Turn(behind)
	zombie := int64(0)
	for range often(3, 20) {
		zombie += stopDrainer(ctx, t, s)
	}
	t.Logf("%d bytes came from gateways that others had replaced", zombie)
	if zombie == 0 {
		t.Error("whoever was stopped had nothing more to say")
	}
	for _, deaf := range []bool{true, false} {
		must(t, s.AwaitInSync(ctx))
		both := cutOneWay(ctx, t, s, deaf)
		t.Logf("deaf %v: %d partitions were drained by two at once", deaf, both)
		if deaf && both == 0 { // one that is mute hears that it was replaced
			t.Error("nobody drained beside another")
		}
		must(t, s.Net.Heal())
	}
	s.Valve.Turn(0)
	finish(t, s, f)
}

// zombieMax is how long one that goes on may take to send what it had begun.
const zombieMax = 2 * time.Second

// stopDrainer stops the gateway that drains most until others drain in its place,
// and for a while after that. It returns how much reached the uplink from it since
// it was replaced, and soon after it went on.
func stopDrainer(ctx context.Context, t *testing.T, s *Site) int64 {
	t.Helper()
	must(t, s.Ledger.AwaitConfirmed(ctx, 300))
	must(t, s.AwaitInSync(ctx))
	g, _ := most(ctx, t, s)
	must(t, g.Pause())
	awaitDrainers(t, s.Others(g)[0], g.Gateway.Name+" is stopped, and others do not drain everything", func(by map[string]int) bool {
		return by[g.Gateway.Name] == 0 && by[""] == 0
	})
	replaced := s.Valve.Brought(g.IP)
	time.Sleep(2 * time.Second) // the others drain, and what was in its sockets arrives beside
	must(t, g.Resume())
	for end := time.Now().Add(zombieMax); s.Valve.Brought(g.IP) == replaced && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond) // another process: nothing to wait on
	}
	return s.Valve.Brought(g.IP) - replaced
}

// cutOneWay makes the gateway that drains most hear nobody, or be heard by
// nobody, while its uplink works, and counts the partitions that it and another
// both say they drain.
func cutOneWay(ctx context.Context, t *testing.T, s *Site, deaf bool) int {
	t.Helper()
	g, _ := most(ctx, t, s)
	before := dropped(t, s)
	for _, other := range s.Others(g) {
		from, to := other.Host, g.Host
		if !deaf {
			from, to = to, from
		}
		must(t, s.Net.CutOneWay(from, to))
	}
	both := map[int32]bool{}
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		drainsHere := func(g *Gateway) map[int32]bool {
			is := map[int32]bool{}
			if d, err := g.seen(ctx); err == nil {
				for _, p := range Partitions(d) {
					is[p.Partition] = p.Drain == "draining"
				}
			}
			return is
		}
		mine := drainsHere(g)
		for _, other := range s.Others(g) {
			for p, is := range drainsHere(other) {
				if is && mine[p] {
					both[p] = true
				}
			}
		}
	}
	if dropped(t, s) == before {
		t.Error("nothing was cut")
	}
	awaitDrainers(t, s.Others(g)[0], g.Gateway.Name+" is cut off, and still has to drain", func(by map[string]int) bool { return by[g.Gateway.Name] == 0 })
	return len(both)
}

// Whoever drains is killed ten times at moments that nobody chose, while the
// uplink comes and goes and one leader has none; then the centre is stopped for
// longer than anybody waits, and killed and started again. (45 s)
func TestDrainersDie(t *testing.T) {
	s := startDrained(t, "gateway-3")
	ctx := within(t, 5*time.Minute)
	dry := s.Gateways[2]
	f := s.StartFleet(ctx, 12, 5*time.Millisecond, true, s.Gateways...)
	s.Valve.Turn(3 * behind)
	must(t, s.Ledger.AwaitConfirmed(ctx, 300))
	flapping, stop := context.WithCancel(ctx)
	defer stop()
	var cuts atomic.Int32
	var running sync.WaitGroup
	running.Go(func() {
		for flapping.Err() == nil {
			s.Uplink.Mend(s.Centre.Address())
			pause(flapping, 3*time.Second)
			s.Uplink.Cut()
			cuts.Add(1)
			pause(flapping, 700*time.Millisecond)
		}
	})
	assigned := 0
	for i := range often(10, 100) {
		must(t, s.AwaitInSync(ctx))
		for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if by, said := drainers(ctx, dry); said && by[dry.Gateway.Name] == 0 {
				break
			}
		}
		time.Sleep(time.Duration(i*137%400) * time.Millisecond)
		g, n := most(ctx, t, s)
		d, err := dry.seen(ctx)
		must(t, err)
		if n > len(leads(d, g)) {
			assigned++
		}
		g.Kill()
		time.Sleep(time.Duration(i*89%300) * time.Millisecond)
		must(t, g.Start(ctx))
	}
	stop()
	running.Wait()
	t.Logf("%d drainers killed, %d of them with partitions of others; the uplink cut %d times", often(10, 100), assigned, cuts.Load())
	if assigned < 2 || cuts.Load() < 3 {
		t.Error("nobody drained for another, or the uplink was never cut")
	}
	s.Uplink.Mend(s.Centre.Address())
	for range 2 {
		arriving(t, s)
		must(t, syscall.Kill(s.Centre.Process().PID(), syscall.SIGSTOP))
		time.Sleep(3 * time.Second) // requests time out, and are answered after all
		must(t, syscall.Kill(s.Centre.Process().PID(), syscall.SIGCONT))
		arriving(t, s)
		s.Centre.Kill()
		must(t, s.Centre.Start())
		s.Uplink.Mend(s.Centre.Address())
	}
	s.Valve.Turn(0)
	finish(t, s, f)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
