//go:build e2e

package site

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"cistern/agent/status"
	"cistern/cross/central"
	"cistern/cross/rig"
	"cistern/cross/rig/rigtest"
	"cistern/gossip/metadata"
)

// stream is where everything goes.
const stream = metadata.DefaultStream

// programs are built once for all tests.
var programs rig.Programs

func TestMain(m *testing.M) {
	rigtest.Main(m, func(ctx context.Context, dir string) (err error) {
		programs, err = rig.BuildPrograms(ctx, dir)
		return err
	}, nil)
}

// long is for an evening rather than for every change.
var long = os.Getenv("CISTERN_SITE_LONG") != ""

// often is how many times to do something: a few in CI, more when asked for.
func often(few, many int) int {
	if long {
		return many
	}
	return few
}

// Limits of waiting. Those of a healed site are the bounds of L, with room for a
// machine that has other things to do.
const (
	stepMax   = 60 * time.Second
	healedMax = 30 * time.Second
	drainMax  = 90 * time.Second
)

// interval between two messages of a device.
const interval = 20 * time.Millisecond

// startSite starts a site of n gateways for one test.
func startSite(t *testing.T, n int, toml string) *Site {
	t.Helper()
	return startAs(t, n, &Site{more: toml})
}

// startAs starts one of which more is said than that.
func startAs(t *testing.T, n int, s *Site) *Site {
	t.Helper()
	if err := Needs(); err != nil {
		t.Skip(err)
	}
	s, err := start(t.Context(), programs, n, s)
	must(t, err)
	return watched(t, s)
}

// watched closes the site at the end, and shows what gateways said if it failed. A
// process that ended though nobody ended it is a failure, whatever became of the site.
func watched(t *testing.T, s *Site) *Site {
	t.Cleanup(func() {
		wantAlive(t, s)
		for _, g := range s.Gateways {
			if g.Process() != nil && (t.Failed() || os.Getenv("CISTERN_SITE_WORDS") != "") {
				t.Logf("last words of %s:\n%s", g.Gateway.Name, g.Process().Output())
			}
		}
		s.Close()
	})
	return s
}

// wantAlive wants no process to have ended by itself.
func wantAlive(t *testing.T, s *Site) {
	t.Helper()
	for _, g := range s.Gateways {
		g.look()
		for _, words := range g.fell {
			t.Errorf("%s ended, and nobody ended it; its last words:\n%s", g.Gateway.Name, words)
		}
		g.fell = nil
	}
}

var must, within = rigtest.Must, rigtest.Within

// finish heals everything, wants the site whole within a bound, stops it, and
// examines what lies on flash and at the centre.
func finish(t *testing.T, s *Site, fleets ...*Fleet) *Findings {
	t.Helper()
	heal(t, s)
	for _, f := range fleets {
		must(t, f.Stop())
	}
	insync := atRest(t, s)
	var journals []*Journal
	for _, g := range s.Gateways {
		if !g.Running() {
			continue
		}
		if err := g.Terminate(); err != nil {
			t.Error(err)
		}
		j, err := ReadJournal(g.Gateway.Name, g.Data)
		must(t, err)
		journals = append(journals, j)
	}
	f, err := Examine(journals, insync, s.Ledger)
	must(t, err)
	var arrived []Record
	must(t, central.NewReader(s.Centre.Address()).Each(within(t, stepMax), metadata.DefaultStream, func(r central.Record) {
		arrived = append(arrived, Record{r.Key, r.Value})
	}))
	must(t, f.Centre(arrived, s.Ledger))
	n := s.Ledger.Tally()
	t.Logf("confirmed %d, given up %d; %d records in each copy, %d at the centre; %d cut off, %d overtaken",
		n.Confirmed, n.Abandoned, f.Records, len(arrived), f.Truncated, f.Overtaken)
	for _, p := range f.Problems() {
		t.Error(p)
	}
	return f
}

// atRest waits until all is at the centre and nothing on its way any more, and returns
// who is in sync with what. It looks twice: what was handed over from one gateway to
// another between two questions of the first view is in the second.
func atRest(t *testing.T, s *Site) (insync map[metadata.PartitionID][]string) {
	t.Helper()
	for range 2 {
		_, err := s.AwaitView(within(t, drainMax), 20*time.Millisecond, (*rig.View).Drained, nil)
		must(t, err)
		insync = settled(t, s)
	}
	return insync
}

// heal ends every fault and wants all copies in sync and devices confirmed.
func heal(t *testing.T, s *Site) {
	t.Helper()
	wantAlive(t, s)
	must(t, s.Net.Heal())
	for _, g := range s.Gateways {
		must(t, g.Plug())
		switch {
		case g.stopped:
			must(t, g.Resume())
		case !g.Running():
			must(t, g.Start(t.Context()))
		}
	}
	s.Uplink.Mend(s.Centre.Address())
	healed := time.Now()
	must(t, s.AwaitInSync(within(t, healedMax)))
	t.Logf("all in sync %s after the last repair", time.Since(healed).Round(time.Millisecond))
}

// settled waits until nothing is on its way between the gateways, and returns who
// is in sync with what: that is everybody who has a copy.
func settled(t *testing.T, s *Site) map[metadata.PartitionID][]string {
	t.Helper()
	ctx := within(t, stepMax)
	last := "not every gateway that runs said how it is"
	for {
		if r := (round{}); r.ask(ctx, s) {
			if r.even() {
				return r.insync
			}
			last = fmt.Sprintf("ends %v, in sync %v, partitions with fewer copies in sync than there are: %v", r.ends, r.insync, r.short)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the copies don't come to rest: %s", last)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// round is what all gateways that run say when they are asked one after the other.
type round struct {
	ends   map[int32][]int64 // of the copies in sync
	insync map[metadata.PartitionID][]string
	short  []int32 // as somebody sees it
}

// ask returns false when one of them does not answer.
func (r *round) ask(ctx context.Context, s *Site) bool {
	r.ends, r.insync = map[int32][]int64{}, map[metadata.PartitionID][]string{}
	for _, g := range s.Gateways {
		if !g.Running() {
			continue
		}
		d, err := g.seen(ctx)
		if err != nil {
			return false
		}
		for _, p := range Partitions(d) {
			if p.Role == status.RoleLeader {
				r.insync[metadata.PartitionID{Stream: metadata.DefaultStream, Partition: p.Partition}] = p.ISR
			}
			if slices.Contains(p.ISR, g.Gateway.Name) {
				r.ends[p.Partition] = append(r.ends[p.Partition], p.EndOffset)
			}
			if len(p.ISR) != len(p.Replicas) {
				r.short = append(r.short, p.Partition)
			}
		}
	}
	return true
}

func (r *round) even() bool {
	for _, of := range r.ends {
		if slices.Min(of) != slices.Max(of) {
			return false
		}
	}
	return len(r.insync) == partitions && len(r.short) == 0
}

// elections counts changes of leaders while f runs.
func elections(t *testing.T, s *Site) int64 {
	t.Helper()
	n, err := s.Elections(within(t, stepMax))
	must(t, err)
	return n
}
