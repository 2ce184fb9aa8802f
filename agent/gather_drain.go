package agent

import (
	"cistern/agent/status"
	"cistern/bridge/drain"
	"cistern/bridge/drain/pace"
	"cistern/gossip/metadata"
)

// draining is what the drain tells of a partition that this gateway drains.
func draining(d *drain.PartitionStatus) status.Draining {
	out := status.Draining{
		Paused: d.Paused, Since: d.Since, Missed: d.Gaps.Records, Skipped: d.Skipped.Records,
		Retimed: d.Retimed.Records, Abandoned: d.Abandoned.Records, Resent: d.Resent,
	}
	for _, f := range d.Flows {
		kind := status.FlowLive
		if f.Kind == drain.Backfill {
			kind = status.FlowBackfill
		}
		out.Flows = append(out.Flows, status.DrainFlow{Kind: kind, Position: f.Position, End: f.To, Records: f.Lag, State: f.State, Reason: oneLine(f.Reason)})
	}
	return out
}

// drainerName is who drains a partition, on a site; alone there is no question.
func (a *Agent) drainerName(p metadata.PartitionID) string {
	if a.site == nil {
		return ""
	}
	return a.drainer(p)
}

// pacing is how the gate says it holds records back, nil when it never does.
func pacing(g *pace.Gate) *status.Pacing {
	if g == nil {
		return nil
	}
	s := g.Status()
	return &status.Pacing{
		Open: s.Open, Why: s.Why, Until: s.Until, ClockUnset: s.ClockUnset, Schedule: s.Schedule,
		BytesPerSecond: s.BytesPerSecond, Ramping: s.Ramping, BytesToday: s.BytesToday, DailyBytes: s.DailyBytes,
	}
}
