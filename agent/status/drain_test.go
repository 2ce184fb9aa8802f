package status

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// held is a gateway whose drain is held back.
func held() *Document {
	return &Document{
		Uplink: Uplink{State: "up", Kind: "kafka", Mode: "sequence", Pacing: &Pacing{Open: true, Schedule: []string{"02:00-05:00"}, DailyBytes: 1000, BytesToday: 10}},
		Streams: []Stream{{Name: "mqtt", Backlog: Backlog{Records: 50, OldestSeconds: 3600}, Partitions: []Partition{
			{Partition: 0, Drained: 7, Draining: Draining{Skipped: 3, Missed: 2, Flows: []DrainFlow{
				{Kind: FlowBackfill, Records: 20}, {Kind: FlowBackfill, Records: 20}, {Kind: FlowLive, Records: 10}}}},
			{Partition: 1, Drained: -1},
		}}},
	}
}

func TestDrainWarnings(t *testing.T) {
	for name, test := range map[string]struct {
		change func(d *Document)
		want   []Code
	}{
		"well":        {func(*Document) {}, nil},
		"paused":      {func(d *Document) { d.Streams[0].Partitions[0].Paused = true }, []Code{DrainPaused}},
		"spent":       {func(d *Document) { d.Uplink.Pacing.BytesToday, d.Uplink.Pacing.Open = 1000, false }, []Code{BudgetSpent}},
		"closed":      {func(d *Document) { d.Uplink.Pacing.Open = false }, nil},
		"for a day":   {func(d *Document) { d.Uplink.Pacing.Open, d.Streams[0].Backlog.OldestSeconds = false, 90_000 }, []Code{ScheduleClosed}},
		"only open":   {func(d *Document) { d.Streams[0].Backlog.OldestSeconds = 90_000 }, nil},
		"no pacing":   {func(d *Document) { d.Uplink.Pacing = nil }, nil},
		"spent, idle": {func(d *Document) { d.Uplink.Pacing.BytesToday, d.Streams[0].Backlog = 1000, Backlog{OldestSeconds: -1} }, nil},
	} {
		var h Health
		d := held()
		test.change(d)
		JudgeDrain(&h, d)
		var got []Code
		for _, a := range h.Active() {
			got = append(got, a.Code)
		}
		if fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
		JudgeDrain(&h, held())
		if left := h.Active(); len(left) > 0 {
			t.Errorf("%s: %v does not end", name, left)
		}
	}
}

func TestDrainMetrics(t *testing.T) {
	var out bytes.Buffer
	if err := WriteMetrics(&out, held()); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`cistern_drain_flow_records{stream="mqtt",partition="0",flow="backfill"} 40`,
		`cistern_drain_flow_records{stream="mqtt",partition="0",flow="live"} 10`,
		`cistern_records_skipped_total{stream="mqtt",partition="0"} 3`,
		`cistern_records_missed_total{stream="mqtt",partition="0"} 2`,
		`cistern_drain_paused{stream="mqtt",partition="0"} 0`,
		`cistern_drain_here{stream="mqtt",partition="1"} 0`,
		`cistern_uplink_mode{kind="kafka",mode="sequence"} 1`,
		`cistern_uplink_today_bytes 10`,
		`cistern_uplink_daily_bytes 1000`,
		`cistern_uplink_open 1`,
	} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("no %s", line)
		}
	}
	if strings.Contains(out.String(), `cistern_drain_paused{stream="mqtt",partition="1"}`) {
		t.Error("a partition that is not drained here")
	}
}
