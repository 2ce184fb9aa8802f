package agent

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"cistern/bridge/mqtt"
	"cistern/bridge/mqtt/packet"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// router makes records of an external broker's messages, as the MQTT server
// does of its own clients': same routes, same keys, same headers. A broker does
// not tell who published, so {clientid} is empty.
type router struct {
	routes     []mqtt.Route
	partitions func(stream string) int32
	site       []byte
	synced     func() bool
	now        func() time.Time
}

func (a *Agent) newRouter() *router {
	return &router{a.routes(), a.partitions, []byte(a.config.Gateway.Site), a.clock.synced, time.Now}
}

var flagSet = []byte("1")

// Map implements source.Router.
func (r *router) Map(topic string, payload []byte, qos byte, retain, dup bool, rec *batch.Record) (metadata.PartitionID, error) {
	route := r.find(topic)
	if route == nil {
		return metadata.PartitionID{}, fmt.Errorf("no route takes the topic %q", topic)
	}
	key := expandKey(route.Key, topic)
	rec.Timestamp, rec.Key, rec.Value = r.now().UnixMilli(), []byte(key), payload
	switch {
	case len(payload) == 0 && route.Tombstone:
		rec.Value = nil
	case payload == nil:
		rec.Value = []byte{}
	}
	header := func(holds bool, name string, value []byte) {
		if holds {
			rec.Headers = append(rec.Headers, batch.RecordHeader{Key: name, Value: value})
		}
	}
	header(qos != 1, "mqtt.qos", strconv.AppendInt(nil, int64(qos), 10))
	header(retain, "mqtt.retain", flagSet)
	header(dup, "mqtt.dup", flagSet)
	header(key != topic, topicHeader, []byte(topic))
	header(len(r.site) > 0, "cistern.site", r.site)
	header(!r.synced(), "cistern.clock", []byte("unsynced"))
	partition := metadata.PartitionFor(rec.Key, r.partitions(route.Stream))
	return metadata.PartitionID{Stream: route.Stream, Partition: partition}, nil
}

func (r *router) find(topic string) *mqtt.Route {
	for i := range r.routes {
		if topic != "" && topic[0] != '$' && packet.Match(r.routes[i].Filter, topic) {
			return &r.routes[i]
		}
	}
	return nil
}

var keyPart = regexp.MustCompile(`\{(\w+)\}`)

// expandKey fills a key template, which the MQTT server has checked.
func expandKey(template, topic string) string {
	if template == "" || template == "{topic}" {
		return topic
	}
	return keyPart.ReplaceAllStringFunc(template, func(part string) string {
		name := part[1 : len(part)-1]
		if name == "topic" {
			return topic
		}
		levels := strings.Split(topic, "/")
		if n, err := strconv.Atoi(name); err == nil && n >= 1 && n <= len(levels) {
			return levels[n-1]
		}
		return ""
	})
}
