package e2e

import (
	"context"
	"testing"
	"time"

	"cistern/cross/rig"
	"cistern/cross/rig/rigtest"
	"cistern/gossip/metadata"
)

const stream = metadata.DefaultStream

// programs are built once for all tests.
var programs rig.Programs

func TestMain(m *testing.M) {
	rigtest.Main(m, func(ctx context.Context, dir string) (err error) {
		programs, err = rig.BuildPrograms(ctx, dir)
		return err
	}, nil)
}

// startSite starts a gateway, a centre and a mended uplink for one test. data
// is the gateway's data folder, empty for a new one; more is TOML for it.
func startSite(t *testing.T, data, more string) *rig.Site {
	t.Helper()
	s, err := rig.StartSite(t.Context(), programs, data, more)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the gateway's last words:\n%s", s.Gateway.Process().Output())
		}
		s.Close()
	})
	return s
}

var must, within = rigtest.Must, rigtest.Within

// judge waits until everything is drained and fails the test unless all that
// was confirmed is at the centre, once, in order, unchanged.
func judge(t *testing.T, s *rig.Site, l *rig.Ledger) {
	t.Helper()
	s.Uplink.Mend(s.Centre.Address())
	must(t, s.Gateway.AwaitDrained(within(t, 90*time.Second), nil))
	v, err := s.Centre.Judge(within(t, time.Minute), l, stream)
	must(t, err)
	t.Logf("confirmed %d, given up %d (%d of them stored), at the centre %d in %d topics",
		v.Confirmed, v.Abandoned, v.Surplus, v.Arrived, v.Topics)
	if !v.Good() {
		t.Errorf("lost %d, duplicated %d, out of order %d, invented %d; %s", v.Lost, v.Duplicated, v.Disordered, v.Invented, v.Example)
	}
}

// consistent runs `cistern check` on a gateway that is not running.
func consistent(t *testing.T, s *rig.Site) {
	t.Helper()
	if out, err := s.Gateway.Run("check"); err != nil {
		t.Errorf("cistern check: %v\n%s", err, out)
	}
}

// The promise once, in a few seconds: confirmed, killed, drained.
func TestKilledOnceNothingLost(t *testing.T) {
	s, l := startSite(t, "", ""), rig.NewLedger()
	ctx := within(t, time.Minute)
	fleet := rig.StartFleet(ctx, s.Gateway.Address, l, 4, time.Millisecond)
	must(t, l.AwaitConfirmed(ctx, 500))
	s.Uplink.Cut()
	must(t, l.AwaitConfirmed(ctx, 500))
	s.Gateway.Kill()
	must(t, s.Gateway.Start(ctx))
	must(t, l.AwaitConfirmed(ctx, 500))
	must(t, fleet.Stop())
	judge(t, s, l)
}
