package mqtt

import (
	"strconv"
	"time"

	"cistern/bridge/mqtt/packet"
	"cistern/segstore/batch"
)

// message is a committed record on its way to subscribers. It is shared by
// all of them and never changed.
type message struct {
	topic, client string
	payload       []byte
	qos           byte
	retain        bool
	expires       time.Time // zero: never
	properties    packet.Properties
	size          int // what it costs in a queue
}

// topicOf returns the topic a record was published to: its key, unless a
// header says otherwise.
func topicOf(r *batch.Record) string {
	for i := range r.Headers {
		if r.Headers[i].Key == headerTopic {
			return string(r.Headers[i].Value)
		}
	}
	return string(r.Key)
}

// newMessage turns a record back into what was published. It copies what it
// keeps: the record's memory is the reader's.
func newMessage(r *batch.Record, topic string) *message {
	m := &message{topic: topic, payload: append([]byte(nil), r.Value...), qos: 1}
	m.size = messageOverhead + len(topic) + len(m.payload)
	for i := range r.Headers {
		m.setHeader(r.Headers[i].Key, r.Headers[i].Value, r.Timestamp)
		m.size += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return m
}

func (m *message) setHeader(name string, value []byte, timestamp int64) {
	field := func(id packet.Property) {
		if len(value) <= packet.StringBytesMax {
			m.properties.SetField(id, append([]byte(nil), value...))
		}
	}
	switch name {
	case headerQoS:
		m.qos = min(2, value0(value)-'0')
	case headerRetain:
		m.retain = true
	case headerClient:
		m.client = string(value)
	case headerContentType:
		field(packet.ContentType)
	case headerResponseTopic:
		field(packet.ResponseTopic)
	case headerCorrelationData:
		field(packet.CorrelationData)
	case headerPayloadFormat:
		m.properties.SetNumber(packet.PayloadFormatIndicator, 1)
	case headerExpiry:
		if seconds, err := strconv.ParseUint(string(value), 10, 32); err == nil {
			m.expires = time.UnixMilli(timestamp).Add(time.Duration(seconds) * time.Second)
		}
	default:
		if !reserved(name) && len(name) <= packet.StringBytesMax && len(value) <= packet.StringBytesMax {
			m.properties.AddUser(name, string(value))
		}
	}
}

func value0(value []byte) byte {
	if len(value) != 1 {
		return '1'
	}
	return value[0]
}

const messageOverhead = 512 // a message without its bytes

// expired reports whether nobody wants the message any more.
func (m *message) expired(now time.Time) bool { return !m.expires.IsZero() && !now.Before(m.expires) }

// publish returns the packet that delivers m.
func (m *message) publish(how delivery, id uint16, now time.Time) packet.Publish {
	p := packet.Publish{QoS: how.qos, PacketID: id, Retain: m.retain && how.retain, Topic: view(m.topic), Payload: m.payload}
	p.Properties = m.properties
	if !m.expires.IsZero() {
		left := max(0, m.expires.Sub(now))
		p.Properties.SetNumber(packet.MessageExpiryInterval, uint32(left/time.Second))
	}
	return p
}
