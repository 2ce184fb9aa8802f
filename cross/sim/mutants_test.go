package sim

import (
	"testing"

	"cistern/segstore/replica"
)

// mutants are the rules, each switched off. Those with a bound must be found by
// chance within as many seeds; for the others see the directed test, which is
// in segstore/replica.
var mutants = []struct {
	name   string
	rules  replica.Rules
	fault  Fault
	within int  // seeds; 0: chance does not find it in reasonable time
	late   bool // in a late network only
}{
	{"KIP-101 truncate to own HW", replica.WithoutEpochTruncation, 0, 600, false},
	{"KIP-279 one look at the epochs", replica.WithoutEpochWalk, 0, 600, false},
	{"KIP-320 epochs not compared", replica.WithoutEpochCheck, 0, 600, true},
	{"KIP-497 old ISR counts", replica.WithoutUnion, 0, 600, false},
	{"KIP-380/903 no incarnations", replica.WithoutIncarnation, WithoutIncarnations, 600, false},
	{"Kip320.tla join at the HW", replica.WithoutEpochStart, 0, 600, false},
	{"KIP-966 HW moves below min ISR", replica.WithoutMinISRWatermark, 0, 600, false},
	{"KAFKA-14704 HW before the cut", replica.WithoutTruncateFirst, 0, 600, false},
	{"KAFKA-9491 log start alone", replica.WithoutRestartTogether, 0, 600, false},
	{"unsynced counts", replica.WithoutSyncedEnd, 0, 600, false},
	{"older answers count", replica.WithoutPositionCheck, 0, 600, false},
	{"late cuts are made", replica.WithoutCutCheck, 0, 600, true},
	{"no producer check", replica.WithoutProducerCheck, 0, 600, false},
	{"no producer rollback", replica.WithoutProducerRollback, 0, 600, false},
}

// TestMutants tests the simulator: it must find every fault that a rule is
// there for.
func TestMutants(t *testing.T) {
	for _, m := range mutants {
		mutant := func(seed uint64) Options {
			o := Draw(seed)
			if m.late {
				o.late()
			}
			o.Rules, o.Only = m.rules|replica.WithoutAssertions, m.fault
			return o
		}
		seeds, found := 0, Report{}
		for at := uint64(0); int(at) < m.within && found.Violation == nil; at += 20 {
			var batch []uint64
			for i := range uint64(20) {
				batch = append(batch, at+i)
			}
			for _, r := range runAll(batch, mutant) {
				if seeds++; r.Violation != nil {
					found = r
					break
				}
			}
		}
		switch {
		case found.Violation != nil:
			t.Logf("%-32s found by seed %d of %d: %.90s", m.name, found.Seed, seeds, found.Violation)
		case m.within > 0:
			t.Errorf("%-32s not found within %d seeds", m.name, m.within)
		}
	}
}
