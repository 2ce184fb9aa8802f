package mqtt

import (
	"errors"
	"hash/maphash"
	"time"

	"cistern/bridge/mqtt/packet"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// errUnrouted is the outcome of a PUBLISH that no route takes.
var errUnrouted = errors.New("mqtt: no route takes this topic (topics that start with $ are never stored; " +
	"a Mosquitto bridge needs \"notifications false\")")

// Router decides where a message goes and what its record looks like. The
// server asks it for its clients' messages; who reads an external broker asks
// it for those of that broker, so that both look the same. It never changes
// and may be used by many.
type Router struct {
	routes    []*route
	site      []byte
	clockMark func(dst []byte, now time.Time) []byte
}

// NewRouter checks routes (nil: DefaultRoutes). partitions tells how many a
// stream has, 0 when there is no such stream; site and clockMark are as in
// Config.
func NewRouter(routes []Route, partitions func(stream string) int32, site string, clockMark func(dst []byte, now time.Time) []byte) (*Router, error) {
	compiled, err := compileRoutes(routes, partitions)
	if err != nil {
		return nil, err
	}
	return &Router{routes: compiled, site: []byte(site), clockMark: clockMark}, nil
}

// Map fills r with the record of a message and says where it belongs. r keeps
// payload. Who published the message is not known: {clientid} is empty.
func (r *Router) Map(topic string, payload []byte, qos byte, retain, dup bool, record *batch.Record) (metadata.PartitionID, error) {
	if topic == "" {
		return metadata.PartitionID{}, errUnrouted
	}
	d := r.resolve(topic, "")
	if d.route == nil {
		return metadata.PartitionID{}, errUnrouted
	}
	m := mapper{record: batch.Record{Headers: record.Headers}}
	p := packet.Publish{QoS: qos, Retain: retain, Dup: dup, Payload: payload}
	*record = *m.make(r, &d, &p, "", time.Now())
	return d.partition, nil
}

// destination is where the messages of one topic go.
type destination struct {
	topic     string
	route     *route // nil: no route takes it
	partition metadata.PartitionID
	key       []byte
}

// resolve finds the destination of topic, which is not empty.
func (r *Router) resolve(topic, client string) destination {
	d := destination{topic: topic}
	if topic[0] == '$' {
		return d
	}
	for _, route := range r.routes {
		if packet.Match(route.Filter, topic) {
			d.route = route
			d.key = route.appendKey(nil, topic, client)
			d.partition = metadata.PartitionID{Stream: route.Stream, Partition: metadata.PartitionFor(d.key, route.partitions)}
			break
		}
	}
	return d
}

// destinations remembers where one client's last topics go, so that a device
// which repeats its topics is routed without matching and without allocating.
// It is a direct-mapped cache: a topic has one slot, the last one there stays.
type destinations struct {
	slots []destination
	long  destination // the last topic that is too long to be remembered
}

const (
	destinationsMin     = 1   // a device with one topic is the common case
	destinationsMax     = 32  // slots per client
	destinationTopicMax = 512 // bytes of a topic that is remembered
)

// find returns the destination of topic, valid until the next call.
func (c *destinations) find(topic []byte, router *Router, client string) *destination {
	if len(topic) > destinationTopicMax {
		c.long = router.resolve(string(topic), client)
		return &c.long
	}
	h := topicHash(topic)
	if len(c.slots) == 0 {
		c.slots = make([]destination, destinationsMin)
	}
	d := &c.slots[h&uint32(len(c.slots)-1)]
	if d.topic == string(topic) {
		return d
	}
	if d.topic != "" && len(c.slots) < destinationsMax {
		c.grow()
		d = &c.slots[h&uint32(len(c.slots)-1)]
	}
	*d = router.resolve(string(topic), client)
	return d
}

func (c *destinations) grow() {
	old := c.slots
	c.slots = make([]destination, 2*len(old))
	for _, d := range old {
		if d.topic != "" {
			c.slots[topicHash([]byte(d.topic))&uint32(len(c.slots)-1)] = d
		}
	}
}

var topicSeed = maphash.MakeSeed()

func topicHash(topic []byte) uint32 { return uint32(maphash.Bytes(topicSeed, topic)) }
