package sim

import (
	"testing"

	"cistern/segstore/replica"
)

// mutants are the rules, each switched off. Chance finds all of them, most within
// ten seeds; segstore/replica has a test by hand of each as well.
var mutants = []struct {
	name  string
	rules replica.Rules
	fault Fault
	late  bool // in a late network only
}{
	{"KIP-101 truncate to own HW", replica.WithoutEpochTruncation, 0, false},
	{"KIP-279 one look at the epochs", replica.WithoutEpochWalk, 0, false},
	{"KIP-320 epochs not compared", replica.WithoutEpochCheck, 0, true},
	{"KIP-497 old ISR counts", replica.WithoutUnion, 0, false},
	{"KIP-380/903 no incarnations", replica.WithoutIncarnation, WithoutIncarnations, false},
	{"Kip320.tla join at the HW", replica.WithoutEpochStart, 0, false},
	{"KIP-966 HW moves below min ISR", replica.WithoutMinISRWatermark, 0, false},
	{"KAFKA-14704 HW before the cut", replica.WithoutTruncateFirst, 0, false},
	{"KAFKA-9491 log start alone", replica.WithoutRestartTogether, 0, false},
	{"unsynced counts", replica.WithoutSyncedEnd, 0, false},
	{"older answers count", replica.WithoutPositionCheck, 0, false},
	{"late cuts are made", replica.WithoutCutCheck, 0, true},
	{"no producer check", replica.WithoutProducerCheck, 0, false},
	{"no producer rollback", replica.WithoutProducerRollback, 0, false},
}

// mutantSeeds is many times what the hardest mutant has taken.
const mutantSeeds = 3000

// TestMutants tests the simulator: it must find every fault that a rule is
// there for.
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 20 s of CPU")
	}
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
		for at := uint64(0); at < mutantSeeds && found.Violation == nil; at += 20 {
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
		default:
			t.Errorf("%-32s not found within %d seeds", m.name, mutantSeeds)
		}
	}
}
