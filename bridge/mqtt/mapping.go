package mqtt

import (
	"strconv"
	"strings"
	"time"
	"unsafe"

	"cistern/bridge/mqtt/packet"
	"cistern/segstore/batch"
)

// Record headers of ours. Each is written only when it says something.
const (
	headerQoS             = "mqtt.qos"    // when not 1
	headerRetain          = "mqtt.retain" // "1" when set
	headerDup             = "mqtt.dup"    // "1" when set
	headerTopic           = "mqtt.topic"  // when the key is not the topic
	headerClient          = "mqtt.client" // when asked for, or needed for No Local
	headerPayloadFormat   = "mqtt.payload-format"
	headerResponseTopic   = "mqtt.response-topic"
	headerCorrelationData = "mqtt.correlation-data"
	headerExpiry          = "mqtt.expiry" // seconds
	headerContentType     = "content-type"
	headerSite            = "cistern.site"
	headerClock           = batch.HeaderClock // last of all: see batch.Record.ClockMark
)

var (
	valueOne   = []byte("1")
	valueZero  = []byte("0")
	valueTwo   = []byte("2")
	emptyValue = []byte{} // a value of no bytes, where nil would be null
)

// reserved reports whether a user property may not become a header, since a
// device must not be able to speak in our name.
func reserved(name string) bool {
	return strings.HasPrefix(name, "mqtt.") || strings.HasPrefix(name, "cistern.")
}

// mapper makes records of PUBLISHes. It is reused: a record is valid until the
// next one is made and shares memory with the packet.
type mapper struct {
	record  batch.Record
	number  [20]byte // text of a numeric header
	mark    [64]byte // and of the one for an unset clock
	dropped int      // reserved user properties left out of the record
}

// make returns the record of p, which goes to d. client is "" unless the
// record is to say who published it.
func (m *mapper) make(router *Router, d *destination, p *packet.Publish, client string, now time.Time) *batch.Record {
	r := &m.record
	m.dropped = 0
	r.Timestamp = now.UnixMilli()
	r.Key, r.Value = d.key, p.Payload
	r.Headers = r.Headers[:0]
	switch {
	case len(p.Payload) == 0 && d.route.Tombstone:
		r.Value = nil
	case p.Payload == nil:
		r.Value = emptyValue
	}
	m.addFlags(p)
	if !d.route.keyIsTopic {
		m.add(headerTopic, view(d.topic))
	}
	if client != "" {
		m.add(headerClient, view(client))
	}
	if !p.Properties.Empty() {
		m.addProperties(&p.Properties)
	}
	if len(router.site) > 0 {
		m.add(headerSite, router.site)
	}
	if router.clockMark != nil {
		if mark := router.clockMark(m.mark[:0], now); len(mark) > 0 {
			m.add(headerClock, mark)
		}
	}
	return r
}

func (m *mapper) addFlags(p *packet.Publish) {
	switch p.QoS {
	case 0:
		m.add(headerQoS, valueZero)
	case 2:
		m.add(headerQoS, valueTwo)
	}
	if p.Retain {
		m.add(headerRetain, valueOne)
	}
	if p.Dup {
		m.add(headerDup, valueOne)
	}
}

func (m *mapper) add(name string, value []byte) {
	m.record.Headers = append(m.record.Headers, batch.RecordHeader{Key: name, Value: value})
}

func (m *mapper) addProperties(p *packet.Properties) {
	for _, f := range [...]struct {
		id   packet.Property
		name string
	}{
		{packet.ContentType, headerContentType},
		{packet.ResponseTopic, headerResponseTopic},
		{packet.CorrelationData, headerCorrelationData},
	} {
		if p.Has(f.id) {
			m.add(f.name, p.Field(f.id))
		}
	}
	if p.Number(packet.PayloadFormatIndicator, 0) == 1 { // 0 is what absent means
		m.add(headerPayloadFormat, valueOne)
	}
	if p.Has(packet.MessageExpiryInterval) {
		m.add(headerExpiry, strconv.AppendUint(m.number[:0], uint64(p.Number(packet.MessageExpiryInterval, 0)), 10))
	}
	for name, value := range p.Users() {
		if key := text(name); reserved(key) {
			m.dropped++
		} else {
			m.add(key, value)
		}
	}
}

// text and view pass between strings and bytes without a copy. They are only
// for what the Appender reads and copies before it returns.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
func view(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// clean lets go of what belongs to a connection.
func (m *mapper) clean() {
	clear(m.record.Headers[:cap(m.record.Headers)])
	m.record = batch.Record{Headers: m.record.Headers[:0]}
}
