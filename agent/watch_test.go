package agent

import (
	"testing"
	"time"

	"cistern/agent/status"
	"cistern/bridge/drain"
)

func TestJudge(t *testing.T) {
	full := func(waiting int64) status.Document {
		return status.Document{
			Storage: status.Storage{UsedBytes: 90, MaxBytes: 100},
			Streams: []status.Stream{{Partitions: []status.Partition{{HighWatermark: 100, Backlog: status.Backlog{Records: waiting}}}}},
		}
	}
	drained, waiting := full(10), full(100)
	refusing := full(100)
	refusing.Storage.Full = true
	for name, test := range map[string]struct {
		doc  status.Document
		want status.Code // "" for none
	}{
		"well":            {status.Document{}, ""},
		"full of drained": {drained, ""},
		"nearly full":     {waiting, status.DiskNearlyFull},
		"full":            {refusing, status.DiskFullRefusing},
		"latched":         {status.Document{Storage: status.Storage{Latched: true}}, status.StoreLatched},
		"uplink":          {status.Document{Uplink: status.Uplink{State: drain.UplinkDown}}, status.UplinkDown},
		"uplink comes":    {status.Document{Uplink: status.Uplink{State: drain.UplinkConnecting}}, ""},
		"clock":           {status.Document{Gateway: status.Gateway{Clock: clockUnset}}, status.ClockUnset},
		"drain": {status.Document{Streams: []status.Stream{{Partitions: []status.Partition{{Drain: drain.StateStopped}}}}},
			status.DrainStopped},
		"broker":       {status.Document{Sources: []status.Source{{Error: "refused"}}}, status.SourceDown},
		"broker comes": {status.Document{Sources: []status.Source{{}}}, ""},
		"broker waits": {status.Document{Sources: []status.Source{{Connected: true, Error: "flash is full"}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := &Agent{health: &status.Health{}}
			a.judge(&test.doc)
			active := a.health.Active()
			switch {
			case test.want == "" && len(active) > 0, test.want != "" && (len(active) != 1 || active[0].Code != test.want):
				t.Errorf("got %+v, want %q", active, test.want)
			}
			a.judge(&status.Document{})
			if left := a.health.Active(); len(left) > 0 {
				t.Errorf("still there when it is over: %+v", left)
			}
		})
	}
}

func TestNews(t *testing.T) {
	var n news
	now := time.Unix(1e9, 0)
	for i, step := range []struct {
		count int64
		after time.Duration
		want  bool
	}{
		{7, 0, false}, // of an earlier run
		{7, time.Hour, false},
		{8, time.Second, true},
		{8, 23 * time.Hour, true},
		{8, 2 * time.Hour, false},
		{9, time.Second, true},
	} {
		now = now.Add(step.after)
		if got := n.grew(step.count, now); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
}
