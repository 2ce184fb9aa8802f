//go:build e2e

package site

import (
	"testing"
	"time"
)

// Two gateways: either may die, and devices of the other are still confirmed,
// parked at first, which is said. When it returns all is one again. Then the
// other one. (15 s)
func TestPairEitherDies(t *testing.T) {
	s := startSite(t, 2, Stream(2, 1))
	ctx := within(t, 3*stepMax)
	f := s.StartFleet(ctx, 12, interval, false, s.Gateways...)
	for i, dies := range s.Gateways {
		stays := s.Gateways[1-i]
		must(t, s.Ledger.AwaitConfirmed(ctx, 300))
		must(t, s.AwaitInSync(ctx))
		f.confirmed(t, time.Now()) // or the wait for that counts
		f.Forget()
		dies.Kill()
		died := time.Now()
		most := int64(0)
		for time.Since(died) < 4*time.Second {
			d, err := stays.seen(ctx)
			must(t, err)
			most = max(most, d.Site.Parked.Records)
			time.Sleep(20 * time.Millisecond)
		}
		t.Logf("%s is dead: devices at %s waited %s; at most %d records were parked there", dies.Gateway.Name, stays.Gateway.Name, rounded(f.Waited(stays)), most)
		if most == 0 {
			t.Error("nothing was parked, or the status does not say so")
		}
		if w := f.Waited(stays); w > generous*time.Second {
			t.Errorf("a device of the gateway that is left waited %s; the goal is 1 s", w)
		}
		must(t, dies.Start(ctx))
		must(t, s.AwaitInSync(ctx))
	}
	finish(t, s, f)
}
