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
	"cistern/cross/rig"
)

// startDrained starts three gateways whose uplinks end at a host of their own,
// with times of an uplink that is missed sooner than a real one.
func startDrained(t *testing.T, dry string) *Site {
	t.Helper()
	if err := Needs(); err != nil {
		t.Skip(err)
	}
	s, err := start(t.Context(), &Site{
		Site: &rig.Site{}, Ledger: rig.NewLedger(), programs: programs, apart: true, dry: dry,
		uplink: "timeout = \"2s\"\n", more: Stream(3, 2),
		member: "[site.timing]\ndrain_after = \"1s\"\ndrain_back_after = \"3s\"\n",
	}, 3)
	must(t, err)
	return watched(t, s)
}

// drainers counts the partitions that each gateway drains, as g sees it.
func drainers(ctx context.Context, g *Gateway) map[string]int {
	by := map[string]int{}
	if d, err := g.seen(ctx); err == nil {
		for _, p := range Partitions(d) {
			by[p.Drainer]++
		}
	}
	return by
}

// awaitDrainer returns when g is seen to drain everything, by those asked, and
// says how long it took.
func awaitDrainer(t *testing.T, s *Site, g *Gateway, asked ...*Gateway) time.Duration {
	t.Helper()
	began, ctx := time.Now(), within(t, stepMax)
	for _, by := range asked {
		for drainers(ctx, by)[g.Gateway.Name] != partitions {
			select {
			case <-ctx.Done():
				t.Fatalf("%s does not drain everything: %v at %s", g.Gateway.Name, drainers(t.Context(), by), by.Gateway.Name)
			case <-time.After(20 * time.Millisecond):
			}
		}
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
	t.Logf("all drained by %s, whose modem is the only one, after %s", b.Gateway.Name, awaitDrainer(t, s, b, a, b, c))
	if frames := dropped(t, s); frames == 0 {
		t.Error("nothing was cut")
	}
	arriving(t, s)
	frames := dropped(t, s)
	must(t, s.Net.Heal())
	must(t, s.Net.Cut(b.Host, s.Modem))
	t.Logf("all drained by %s after %s: the other modem", a.Gateway.Name, awaitDrainer(t, s, a, a, b, c))
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

// most returns the gateway that drains most, as others see it, and how much that
// is.
func most(ctx context.Context, t *testing.T, s *Site) (*Gateway, int) {
	t.Helper()
	for _, asked := range s.Gateways {
		if !asked.Running() || asked.stopped {
			continue
		}
		by := drainers(ctx, asked)
		best := asked
		for _, g := range s.Gateways {
			if by[g.Gateway.Name] > by[best.Gateway.Name] {
				best = g
			}
		}
		return best, by[best.Gateway.Name]
	}
	t.Fatal("nobody runs")
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

// stopDrainer stops the gateway that drains most until others drain in its place,
// and for a while after that. It returns how much reached the uplink from it since
// it was replaced, and within a moment of going on.
func stopDrainer(ctx context.Context, t *testing.T, s *Site) int64 {
	t.Helper()
	must(t, s.Ledger.AwaitConfirmed(ctx, 300))
	must(t, s.AwaitInSync(ctx))
	g, n := most(ctx, t, s)
	other := s.Others(g)[0]
	must(t, g.Pause())
	for drainers(ctx, other)[g.Gateway.Name] > 0 {
		if ctx.Err() != nil {
			t.Fatalf("%s is stopped, and still has to drain %d partitions", g.Gateway.Name, n)
		}
		time.Sleep(20 * time.Millisecond)
	}
	replaced := s.Valve.Brought(g.IP)
	time.Sleep(2 * time.Second) // the others drain, and what was in its sockets arrives beside
	must(t, g.Resume())
	time.Sleep(200 * time.Millisecond)
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
	if n := drainers(ctx, s.Others(g)[0])[g.Gateway.Name]; n > 0 || dropped(t, s) == before {
		t.Errorf("nothing was cut, or %s still has to drain %d partitions", g.Gateway.Name, n)
	}
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
		for end := time.Now().Add(4 * time.Second); drainers(ctx, dry)[dry.Gateway.Name] > 0 && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
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
