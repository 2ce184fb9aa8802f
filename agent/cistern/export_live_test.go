package main

import (
	"slices"
	"testing"

	"cistern/agent/status"
	"cistern/bridge/export"
)

// Under live_first what waits is not one range: all of it is exported, and nothing
// that is upstream.
func TestExportOfASplitPartition(t *testing.T) {
	d := &status.Document{Streams: []status.Stream{{Name: "mqtt", Partitions: []status.Partition{{
		HighWatermark: 5010, Drained: 200, Backlog: status.Backlog{Records: 810},
		Draining: status.Draining{Flows: []status.DrainFlow{{Kind: status.FlowBackfill, Position: 200, End: 1000}, {Kind: status.FlowLive, Position: 5000, End: -1}}},
	}, {
		HighWatermark: 5010, Drained: -1, Backlog: status.Backlog{Records: 10},
	}}}}}
	f := exportFlags{from: fromUndrained, first: -1, beyond: -1}
	parts := f.liveParts(t.Context(), status.NewClient("/nowhere"), d)
	if len(parts) != 2 || parts[0].From != 200 || parts[0].To != 5010 || !slices.Equal(parts[0].Drained, []export.Range{{From: 1000, To: 5000}}) ||
		parts[1].From != 5000 || parts[1].Drained != nil {
		t.Errorf("%+v", parts)
	}
}
