package agent

import (
	"cistern/agent/status"
	"cistern/bridge/drain"
	"cistern/bridge/drain/pace"
)

// drainingOf is what the drain tells of a partition that this gateway drains.
func drainingOf(d *drain.PartitionStatus) status.Draining {
	out := status.Draining{
		Paused: d.Paused, Since: d.Since, Missed: d.Gaps.Records, Skipped: d.Skipped.Records,
		Retimed: d.Retimed.Records, Abandoned: d.Abandoned.Records, Resent: d.Resent,
	}
	for _, f := range d.Flows {
		kind := status.FlowLive
		if f.Kind == drain.Backfill {
			kind = status.FlowBackfill
		}
		out.Flows = append(out.Flows, status.DrainFlow{Kind: kind, Position: f.Position, End: f.To, Records: f.Lag, State: f.State, Reason: oneLine(f.Reason), InDoubt: f.InDoubt})
	}
	return out
}

// pacing is how the gate says it holds records back, nil while it does not and
// nothing is set that could.
func pacing(s *pace.Status) *status.Pacing {
	if s.Open && s.BytesPerSecond == 0 && s.DailyBytes == 0 && len(s.Schedule) == 0 {
		return nil
	}
	return &status.Pacing{
		Open: s.Open, Why: s.Why, Until: s.Until, ClockUnset: s.ClockUnset, Schedule: s.Schedule,
		BytesPerSecond: s.BytesPerSecond, Ramping: s.Ramping, BytesToday: s.BytesToday, DailyBytes: s.DailyBytes,
	}
}
