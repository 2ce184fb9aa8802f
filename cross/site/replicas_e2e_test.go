//go:build e2e

package site

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"cistern/agent/status"
)

// awaitPartitions returns when one running gateway sees all partitions as wanted.
func awaitPartitions(t *testing.T, ctx context.Context, s *Site, wanted func(p *status.Partition) bool) *status.Document {
	t.Helper()
	for {
		d, err := s.Seen(ctx)
		if err == nil {
			all := Partitions(d)
			for len(all) > 0 && wanted(&all[0]) {
				all = all[1:]
			}
			if len(all) == 0 {
				return d
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the partitions don't become what they should: %v", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Scenario 6: both followers are cut off, the leader is alone in the ISR, below
// min_insync. It confirms nothing and its high watermark stands still; it loses
// its process, the others lead, and its tail has to give way. (15 s)
func TestScenario06LeaderAlone(t *testing.T) {
	s := startSite(t, 3, Stream(3, 2))
	ctx := within(t, 3*stepMax)
	alone := s.Gateways[0]
	f := s.StartFleet(ctx, 6, interval, false, alone)
	must(t, s.Ledger.AwaitConfirmed(ctx, 300))
	before := elections(t, s)
	must(t, s.Net.CutOff(alone.Host, Hosts(s.Others(alone)...)...))
	time.Sleep(3 * time.Second) // longer than replica_lag_max: now it is alone
	was, err := alone.seen(ctx)
	must(t, err)
	confirmed := s.Ledger.Tally().Confirmed
	time.Sleep(2 * time.Second) // in which nothing may happen
	now, err := alone.seen(ctx)
	must(t, err)
	if n := s.Ledger.Tally().Confirmed - confirmed; n > 0 {
		t.Errorf("%d messages were confirmed by a leader on its own; min_insync is 2", n)
	}
	stood := Partitions(was)
	tail := int64(0)
	for i, p := range Partitions(now) {
		if p.HighWatermark != stood[i].HighWatermark {
			t.Errorf("partition %d: the high watermark went from %d to %d", p.Partition, stood[i].HighWatermark, p.HighWatermark)
		}
		tail += p.EndOffset - p.HighWatermark
	}
	alone.Kill()
	must(t, s.Net.Heal())
	must(t, alone.Start(ctx))
	must(t, s.Ledger.AwaitConfirmed(ctx, 100))
	n := elections(t, s) - before
	t.Logf("%d records above the high watermark, %d held on its flash besides; %d changes of leaders", tail, now.Site.Parked.Held, n)
	if n == 0 || dropped(t, s) == 0 || tail+now.Site.Parked.Held == 0 {
		t.Error("nobody was elected, or nothing was cut, or there was no tail: this proves nothing")
	}
	finish(t, s, f)
}

// Scenario 7: the last in sync is gone for good. Nobody leads, which is said; an
// operator's word elects another, which is counted, and names what is given up.
// (15 s, beside others)
func TestScenario07LastReplicaStanding(t *testing.T) {
	takeTurn(t)
	s := startSite(t, 4, Stream(3, 1))
	ctx := within(t, 3*stepMax)
	// A partition that not everyone keeps; the fourth gateway is for the quorum.
	d, err := s.Seen(ctx)
	must(t, err)
	p := Partitions(d)[0]
	last := s.named(p.Replicas[0])
	early := []*Gateway{s.named(p.Replicas[1]), s.named(p.Replicas[2])}
	f := s.StartFleet(ctx, 12, interval, false, last)
	must(t, s.Ledger.AwaitConfirmed(ctx, 300))
	killAll(early[0])
	awaitPartitions(t, ctx, s, func(q *status.Partition) bool {
		return q.Partition != p.Partition || !slices.Contains(q.ISR, early[0].Gateway.Name)
	})
	killAll(early[1])
	// Two of four are no majority: this one stays in the ISR until somebody can agree.
	must(t, early[0].Start(ctx))
	must(t, s.Net.CutOff(early[0].Host, last.Host))
	awaitPartitions(t, ctx, s, func(q *status.Partition) bool {
		return q.Partition != p.Partition || len(q.ISR) == 1 && q.ISR[0] == last.Gateway.Name
	})
	must(t, s.Ledger.AwaitConfirmed(ctx, 300)) // by the last one alone
	must(t, f.Stop())
	killAll(last)
	must(t, s.Net.Heal())
	must(t, early[1].Start(ctx))
	asked := early[0]
	said := within(t, healedMax)
	must(t, asked.AwaitStatus(said, func(d *status.Document) bool {
		return len(Partitions(d)) > 0 && Partitions(d)[p.Partition].Leader == "" &&
			slices.ContainsFunc(d.Health, func(a status.Active) bool { return a.Code == status.PartitionLeaderless })
	}))
	if out, err := asked.Run("partitions", "elect", partitionName(p.Partition)); err == nil {
		t.Errorf("elected without --unclean:\n%s", out)
	}
	out, err := asked.Run("partitions", "elect", partitionName(p.Partition), "--unclean", "--yes")
	must(t, err)
	t.Logf("%s", out)
	if !strings.Contains(out, "Given up") || !strings.Contains(out, "offset") {
		t.Errorf("an unclean election does not name what is given up:\n%s", out)
	}
	led := awaitPartitions(t, within(t, healedMax), s, func(q *status.Partition) bool { return q.Partition != p.Partition || q.Leader != "" })
	if n := Partitions(led)[p.Partition].Unclean; n != 1 {
		t.Errorf("%d unclean elections counted, 1 was made", n)
	}
}

func (s *Site) named(name string) *Gateway {
	for _, g := range s.Gateways {
		if g.Gateway.Name == name {
			return g
		}
	}
	return nil
}
