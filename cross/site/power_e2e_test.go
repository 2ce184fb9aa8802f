//go:build e2e

package site

import "testing"

// Scenario 23, the least of it: one kill -9 under load.
func TestKillOnce(t *testing.T) {
	s := startSite(t, 3, Stream(3, 2))
	ctx := within(t, stepMax)
	f := s.StartFleet(ctx, 9, interval, true, s.Gateways...)
	must(t, s.Ledger.AwaitConfirmed(ctx, 300))
	g, err := s.Leader(ctx)
	must(t, err)
	before := elections(t, s)
	g.Kill()
	must(t, s.Ledger.AwaitConfirmed(ctx, 300))
	if n := elections(t, s) - before; n == 0 {
		t.Error("nobody was elected")
	}
	t.Log(f.Waited(nil), s.Ledger.Waited())
	must(t, g.Start(ctx))
	finish(t, s, f)
}
