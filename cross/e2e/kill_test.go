//go:build e2e

package e2e

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"cistern/cross/rig"
)

const (
	kills       = 50
	killSeed    = 20261122 // the same moments each run, as far as a scheduler allows
	killedAfter = 400 * time.Millisecond
)

// kill -9 at 50 random moments under load, with the drain running: while
// starting, while committing, while a request is on its way to the centre.
func TestKillLoop(t *testing.T) {
	s, l := startSite(t, "", ""), rig.NewLedger()
	ctx := within(t, 5*time.Minute)
	fleet := rig.StartFleet(ctx, s.Gateway.Address, l, 8, time.Millisecond)
	rng := rand.New(rand.NewPCG(killSeed, killSeed))
	for range kills {
		must(t, l.AwaitConfirmed(ctx, 1))                         // it works again
		time.Sleep(time.Duration(rng.Int64N(int64(killedAfter)))) // the moment is the input
		s.Gateway.Kill()
		must(t, s.Gateway.Start(ctx))
	}
	must(t, fleet.Stop())
	judge(t, s, l)
	if n := l.Tally().Confirmed; n < 1000 {
		t.Errorf("only %d messages were confirmed between %d kills: this proves little", n, kills)
	}
	must(t, s.Gateway.Terminate())
	consistent(t, s)
}

// Ctrl-C and systemd's SIGTERM: exit status 0, a store that checks, and
// nothing to recover.
func TestStopsCleanly(t *testing.T) {
	for _, c := range []struct {
		name string
		sig  syscall.Signal
	}{{"SIGTERM", syscall.SIGTERM}, {"SIGINT", syscall.SIGINT}} {
		t.Run(c.name, func(t *testing.T) {
			s, l := startSite(t, "", ""), rig.NewLedger()
			ctx := within(t, time.Minute)
			fleet := rig.StartFleet(ctx, s.Gateway.Address, l, 4, time.Millisecond)
			for range 3 {
				must(t, l.AwaitConfirmed(ctx, 200))
				must(t, s.Gateway.Process().Stop(c.sig))
				consistent(t, s)
				must(t, s.Gateway.Start(ctx))
			}
			must(t, l.AwaitConfirmed(ctx, 1))
			must(t, fleet.Stop())
			judge(t, s, l)
		})
	}
}

// The centre itself is killed and started again, many times, while the gateway
// drains: a reply that never came is not a reason to send a record twice.
func TestCentreKilledWhileDraining(t *testing.T) {
	s, l := startSite(t, "", ""), rig.NewLedger()
	ctx := within(t, 2*time.Minute)
	fleet := rig.StartFleet(ctx, s.Gateway.Address, l, 4, time.Millisecond)
	for range 10 {
		must(t, l.AwaitConfirmed(ctx, 200))
		s.Centre.Kill()
		must(t, s.Centre.Start())
		s.Uplink.Mend(s.Centre.Address())
	}
	must(t, fleet.Stop())
	judge(t, s, l)
}

// An uplink that comes and goes faster than a backlog drains, with a kill of
// the gateway now and then.
func TestUplinkFlaps(t *testing.T) {
	s, l := startSite(t, "", ""), rig.NewLedger()
	ctx := within(t, 2*time.Minute)
	fleet := rig.StartFleet(ctx, s.Gateway.Address, l, 4, time.Millisecond)
	for i := range 40 {
		s.Uplink.Cut()
		must(t, l.AwaitConfirmed(ctx, 50))
		s.Uplink.Mend(s.Centre.Address())
		must(t, l.AwaitConfirmed(ctx, rand.Int64N(100)+1))
		if i%10 == 9 {
			s.Gateway.Kill()
			must(t, s.Gateway.Start(ctx))
		}
	}
	must(t, fleet.Stop())
	judge(t, s, l)
}
