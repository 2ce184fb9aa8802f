package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"cistern/agent/status"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// linked has an uplink to nowhere.
const linked = "[uplink.kafka]\nbrokers = ['127.0.0.1:1']\n" + threePartitions

func TestPauseOrders(t *testing.T) {
	a := open(t, linked)
	for _, test := range []struct {
		order status.PauseOrder
		done  int
		want  string
	}{
		{status.PauseOrder{Partition: status.AllPartitions, On: true}, 3, ""},
		{status.PauseOrder{Stream: "mqtt", Partition: 1}, 1, ""},
		{status.PauseOrder{Stream: "mqtt", Partition: status.AllPartitions}, 3, ""},
		{status.PauseOrder{Stream: "mqtt", Partition: 3}, 0, "no partition 3"},
		{status.PauseOrder{Stream: "other", Partition: status.AllPartitions}, 0, `no stream "other"`},
	} {
		answer, err := a.PauseDrain(t.Context(), test.order)
		if len(answer.Done) != test.done || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %+v, %v", test.order, answer, err)
		}
		paused := 0
		for _, p := range a.Status().Streams[0].Partitions {
			if p.Paused {
				paused++
			}
		}
		if test.want == "" && test.order.On != (paused > 0) && test.done == 3 {
			t.Errorf("%+v: %d are paused", test.order, paused)
		}
	}
}

func TestSkipOrders(t *testing.T) {
	a := open(t, linked)
	p := metadata.PartitionID{Stream: "mqtt", Partition: 1}
	for i := range 5 {
		a.append(t, p, batch.Record{Timestamp: 1_700_000_000_000 + int64(i)*1000})
	}
	order := status.SkipOrder{Stream: "mqtt", Partition: 1, To: 3, Try: true, Why: "a test"}
	want := status.SkipAnswer{First: 0, Next: 3, Records: 3, FirstTime: time.UnixMilli(1_700_000_000_000).UTC(), LastTime: time.UnixMilli(1_700_000_002_000).UTC()}
	for range 2 { // trying changes nothing
		if got, err := a.SkipDrain(t.Context(), order); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	order.Try = false
	if got, err := a.SkipDrain(t.Context(), order); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if s := a.Status().Streams[0].Partitions[1]; s.Drained != 3 || s.Skipped != 3 || s.Backlog.Records != 2 {
		t.Errorf("%+v", s)
	}
	order.To = status.SkipToEnd
	if got, err := a.SkipDrain(t.Context(), order); err != nil || got.First != 3 || got.Next != 5 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, wrong := range []status.SkipOrder{
		{Stream: "mqtt", Partition: 1, To: 6}, {Stream: "mqtt", Partition: 3, To: 1}, {Stream: "mqtt", Partition: -1, To: 1}, {Stream: "other"},
	} {
		if got, err := a.SkipDrain(t.Context(), wrong); err == nil {
			t.Errorf("%+v: %+v", wrong, got)
		}
	}
}

// Without an uplink there is nothing to pause; but what was carried out is noted,
// and known again after a restart.
func TestOrdersWithoutAnUplink(t *testing.T) {
	a := open(t, threePartitions)
	p := metadata.PartitionID{Stream: "mqtt", Partition: 0}
	for range 5 {
		a.append(t, p, batch.Record{Value: []byte("v")})
	}
	if _, err := a.PauseDrain(t.Context(), status.PauseOrder{Partition: status.AllPartitions, On: true}); !errors.Is(err, status.ErrNoUplink) {
		t.Error(err)
	}
	order := status.SkipOrder{Stream: "mqtt", To: 4}
	if _, err := a.SkipDrain(t.Context(), order); !errors.Is(err, status.ErrNoUplink) {
		t.Error(err)
	}
	order.Exported = true
	if got, err := a.SkipDrain(t.Context(), order); err != nil || got.Next != 4 || got.Records != 4 {
		t.Errorf("%+v, %v", got, err)
	}
	if b := a.Status().Streams[0].Backlog; b.Records != 1 {
		t.Errorf("backlog %+v", b)
	}
	again := New(a.config, "test", a.log)
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	a.store, a.ingest = nil, nil
	if err := errors.Join(again.open(), again.recallDrained()); err != nil {
		t.Fatal(err)
	}
	defer again.close()
	if b := again.Status().Streams[0].Backlog; b.Records != 1 {
		t.Errorf("after a restart: %+v", b)
	}
}
