package agent

import (
	"reflect"
	"testing"
	"time"

	"cistern/bridge/mqtt"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

func TestRouter(t *testing.T) {
	synced := true
	r := &router{
		routes: []mqtt.Route{
			{Filter: "plant/+/temp", Stream: "line", Key: "{2}-{9}{clientid}"},
			{Filter: "state/#", Stream: "state", Tombstone: true},
			{Filter: "#", Stream: "mqtt"},
		},
		partitions: func(stream string) int32 { return map[string]int32{"line": 4, "state": 1, "mqtt": 1}[stream] },
		site:       []byte("s"),
		synced:     func() bool { return synced },
		now:        func() time.Time { return time.UnixMilli(77) },
	}
	site := batch.RecordHeader{Key: "cistern.site", Value: []byte("s")}
	for name, test := range map[string]struct {
		topic       string
		payload     []byte
		qos         byte
		retain, dup bool
		want        batch.Record
		stream      string
	}{
		"whole topic": {"a/b", []byte("v"), 1, false, false, batch.Record{Key: []byte("a/b"), Value: []byte("v"), Headers: []batch.RecordHeader{site}}, "mqtt"},
		"template": {"plant/l3/temp", []byte("v"), 1, false, false, batch.Record{Key: []byte("l3-"), Value: []byte("v"),
			Headers: []batch.RecordHeader{{Key: "mqtt.topic", Value: []byte("plant/l3/temp")}, site}}, "line"},
		"flags": {"a", []byte("v"), 2, true, true, batch.Record{Key: []byte("a"), Value: []byte("v"), Headers: []batch.RecordHeader{
			{Key: "mqtt.qos", Value: []byte("2")}, {Key: "mqtt.retain", Value: []byte("1")}, {Key: "mqtt.dup", Value: []byte("1")}, site}}, "mqtt"},
		"tombstone":    {"state/x", nil, 1, false, false, batch.Record{Key: []byte("state/x"), Headers: []batch.RecordHeader{site}}, "state"},
		"no tombstone": {"x", nil, 1, false, false, batch.Record{Key: []byte("x"), Value: []byte{}, Headers: []batch.RecordHeader{site}}, "mqtt"},
	} {
		t.Run(name, func(t *testing.T) {
			var rec batch.Record
			p, err := r.Map(test.topic, test.payload, test.qos, test.retain, test.dup, &rec)
			if err != nil {
				t.Fatal(err)
			}
			test.want.Timestamp = 77
			if !reflect.DeepEqual(rec, test.want) {
				t.Errorf("\n got %+v\nwant %+v", rec, test.want)
			}
			want := metadata.PartitionID{Stream: test.stream, Partition: metadata.PartitionFor(rec.Key, r.partitions(test.stream))}
			if p != want {
				t.Errorf("partition %v, want %v", p, want)
			}
		})
	}
	synced = false
	var rec batch.Record
	if _, err := r.Map("a", nil, 1, false, false, &rec); err != nil || rec.Headers[1].Key != "cistern.clock" {
		t.Errorf("unsynced: %+v, %v", rec, err)
	}
	for _, topic := range []string{"$SYS/x", ""} {
		if _, err := r.Map(topic, nil, 1, false, false, &rec); err == nil {
			t.Errorf("%q was taken", topic)
		}
	}
}
