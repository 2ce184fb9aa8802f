package mqtt

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

func fourPartitions(stream string) int32 {
	if stream == "absent" {
		return 0
	}
	return 4
}

func TestRoutes(t *testing.T) {
	router, err := NewRouter([]Route{
		{Filter: "spBv1.0/+/+/+/#", Stream: "sparkplug", Key: "{2}/{4}"},
		{Filter: "alarm/#", Stream: "alarms", Key: "all"},
		{Filter: "dev/+/state", Stream: "state", Key: "{clientid}:{topic}"},
		{Filter: "plant/#", Stream: "plant"},
	}, fourPartitions, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	var cache destinations
	for range 2 { // the second round is answered from the cache
		for _, tc := range []struct{ topic, stream, key string }{
			{"spBv1.0/g/NDATA/node", "sparkplug", "g/node"},
			{"spBv1.0/g/DDATA/node/dev", "sparkplug", "g/node"},
			{"alarm", "alarms", "all"},
			{"alarm/x", "alarms", "all"},
			{"dev/7/state", "state", "me:dev/7/state"},
			{"dev/7/state/x", "", ""},
			{"plant/a", "plant", "plant/a"},
			{"$SYS/x", "", ""},
			{"other", "", ""},
		} {
			d := cache.find([]byte(tc.topic), router, "me")
			if d.topic != tc.topic || d.partition.Stream != tc.stream || string(d.key) != tc.key || (d.route == nil) != (tc.stream == "") {
				t.Errorf("%s: %+v", tc.topic, *d)
			}
		}
	}
}

func TestDefaultRouteTakesAllButDollar(t *testing.T) {
	router, err := NewRouter(nil, fourPartitions, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := router.resolve("a/b", "c"); d.partition.Stream != "mqtt" || string(d.key) != "a/b" {
		t.Errorf("%+v", d)
	}
	if d := router.resolve("$SYS/a", "c"); d.route != nil {
		t.Error("$SYS was taken")
	}
}

func TestTopicLevel(t *testing.T) {
	for _, tc := range []struct {
		topic string
		n     int
		want  string
	}{{"a/b/c", 1, "a"}, {"a/b/c", 3, "c"}, {"a/b/c", 4, ""}, {"/a", 1, ""}, {"/a", 2, "a"}, {"a", 1, "a"}} {
		if got := topicLevel(tc.topic, tc.n); got != tc.want {
			t.Errorf("level %d of %q is %q", tc.n, tc.topic, got)
		}
	}
}

func TestWrongRoutes(t *testing.T) {
	for name, tc := range map[string]struct {
		route Route
		says  string
	}{
		"filter":       {Route{Filter: "a/#/b", Stream: "s"}, "topic filter"},
		"dollar":       {Route{Filter: "$SYS/#", Stream: "s"}, "never stored"},
		"stream name":  {Route{Filter: "#", Stream: "a b"}, "stream name"},
		"no stream":    {Route{Filter: "#", Stream: "absent"}, "does not exist"},
		"open brace":   {Route{Filter: "#", Stream: "s", Key: "a{topic"}, "without its }"},
		"unknown name": {Route{Filter: "#", Stream: "s", Key: "{user}"}, "{user} is unknown"},
		"level 0":      {Route{Filter: "#", Stream: "s", Key: "{0}"}, "{0} is unknown"},
	} {
		_, err := compileRoutes([]Route{tc.route}, fourPartitions)
		if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "route 1") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRoutingAllocatesNothing(t *testing.T) {
	router, _ := NewRouter(nil, fourPartitions, "", nil)
	var cache destinations
	topic := []byte("plant/line3/temp")
	if n := testing.AllocsPerRun(1000, func() { cache.find(topic, router, "me") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMap(t *testing.T) {
	router, err := NewRouter([]Route{
		{Filter: "cmd/#", Stream: "commands", Key: "{2}", Tombstone: true},
		{Filter: "#", Stream: "mqtt"},
	}, fourPartitions, "north", func(dst []byte, now time.Time) []byte { return batch.AppendClockMark(dst, "b007", 12345) })
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		topic, payload string
		qos            byte
		retain, dup    bool
		want           string
	}{
		{"plant/temp", "x", 1, false, false, `plant/temp "x" [cistern.site=north cistern.clock=unset b007 12345]`},
		{"plant/temp", "", 2, true, true, `plant/temp "" [mqtt.qos=2 mqtt.retain=1 mqtt.dup=1 cistern.site=north cistern.clock=unset b007 12345]`},
		{"cmd/valve", "", 0, false, false, `valve null [mqtt.qos=0 mqtt.topic=cmd/valve cistern.site=north cistern.clock=unset b007 12345]`},
	} {
		var r batch.Record
		p, err := router.Map(tc.topic, []byte(tc.payload), tc.qos, tc.retain, tc.dup, &r)
		if err != nil || p.Partition != metadata.PartitionFor(r.Key, 4) {
			t.Fatalf("%s: %v, %v", tc.topic, p, err)
		}
		if got := describe(&r); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
	var r batch.Record
	if _, err := router.Map("t", nil, 1, false, false, &r); err != nil || r.Value == nil {
		t.Errorf("an empty payload became %v, %v", r.Value, err)
	}
	for _, topic := range []string{"", "$SYS/x"} {
		if _, err := router.Map(topic, nil, 1, false, false, &r); err == nil {
			t.Errorf("%q was taken", topic)
		}
	}
}

func describe(r *batch.Record) string {
	var headers []string
	for _, h := range r.Headers {
		headers = append(headers, h.Key+"="+string(h.Value))
	}
	value := fmt.Sprintf("%q", r.Value)
	if r.Value == nil {
		value = "null"
	}
	return fmt.Sprintf("%s %s %v", r.Key, value, headers)
}
