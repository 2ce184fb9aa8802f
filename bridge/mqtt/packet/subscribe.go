package packet

import "iter"

// Options are the subscription options of one topic filter. MQTT 3.1.1 has
// only the QoS.
type Options byte

// QoS returns the highest QoS the subscriber wants.
func (o Options) QoS() byte { return byte(o & 3) }

// NoLocal reports whether the subscriber wants its own messages left out.
func (o Options) NoLocal() bool { return o&4 != 0 }

// RetainAsPublished reports whether the retain flag is to be passed on.
func (o Options) RetainAsPublished() bool { return o&8 != 0 }

func (o Options) check(v Version) error {
	switch {
	case o.QoS() == 3:
		return malformed("subscription QoS 3 does not exist")
	case v != V5 && o&^3 != 0, o&0xC0 != 0:
		return malformed("reserved bits of the subscription options are set")
	case o&0x30 == 0x30:
		return protocol("retain handling 3 does not exist")
	}
	return nil
}

// Subscribe is a SUBSCRIBE.
type Subscribe struct {
	PacketID   uint16
	Properties Properties
	filters    []byte
}

// Decode reads a SUBSCRIBE. Filters are checked as strings; whether their
// wildcards are placed well is answered filter by filter, see ValidFilter.
func (p *Subscribe) Decode(v Version, body []byte) error {
	c := cursor{b: body}
	p.decodeHead(&c, v, inSubscribe)
	for len(c.b) > 0 && c.err == nil {
		filter, o := c.text(), Options(c.uint8())
		if err := checkFilter(filter, o, v); err != nil && c.err == nil {
			return err
		}
	}
	return c.err
}

func (p *Subscribe) decodeHead(c *cursor, v Version, allowed uint64) {
	p.Properties.Reset()
	p.PacketID = c.packetID()
	if v == V5 {
		c.properties(&p.Properties, allowed)
	}
	p.filters = c.b
	if c.err == nil && len(c.b) == 0 {
		c.fail(protocol("a SUBSCRIBE or UNSUBSCRIBE without topic filters"))
	}
}

func checkFilter(filter []byte, o Options, v Version) error {
	if len(filter) == 0 {
		return protocol("an empty topic filter")
	}
	if o.NoLocal() && len(filter) >= len(SharedPrefix) && string(filter[:len(SharedPrefix)]) == SharedPrefix {
		return protocol("No Local on a shared subscription")
	}
	return o.check(v)
}

// Filters walks the topic filters in order.
func (p *Subscribe) Filters() iter.Seq2[[]byte, Options] {
	return func(yield func([]byte, Options) bool) {
		c := cursor{b: p.filters}
		for len(c.b) > 0 {
			if !yield(c.binary(), Options(c.uint8())) {
				return
			}
		}
	}
}

// Add adds a topic filter to a packet that will be written.
func (p *Subscribe) Add(filter string, o Options) {
	p.filters = append(appendField(p.filters, filter), byte(o))
}

// AppendTo writes the packet.
func (p *Subscribe) AppendTo(dst []byte, v Version) []byte {
	return appendRequest(dst, TypeSubscribe, v, p.PacketID, &p.Properties, p.filters)
}

// Unsubscribe is an UNSUBSCRIBE.
type Unsubscribe struct {
	PacketID   uint16
	Properties Properties
	filters    []byte
}

// Decode reads an UNSUBSCRIBE.
func (p *Unsubscribe) Decode(v Version, body []byte) error {
	var head Subscribe
	c := cursor{b: body}
	head.decodeHead(&c, v, inUnsubscribe)
	p.PacketID, p.Properties, p.filters = head.PacketID, head.Properties, head.filters
	for len(c.b) > 0 && c.err == nil {
		if filter := c.text(); len(filter) == 0 && c.err == nil {
			return protocol("an empty topic filter")
		}
	}
	return c.err
}

// Filters walks the topic filters in order.
func (p *Unsubscribe) Filters() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		c := cursor{b: p.filters}
		for len(c.b) > 0 {
			if !yield(c.binary()) {
				return
			}
		}
	}
}

// Add adds a topic filter to a packet that will be written.
func (p *Unsubscribe) Add(filter string) { p.filters = appendField(p.filters, filter) }

// AppendTo writes the packet.
func (p *Unsubscribe) AppendTo(dst []byte, v Version) []byte {
	return appendRequest(dst, TypeUnsubscribe, v, p.PacketID, &p.Properties, p.filters)
}

func appendRequest(dst []byte, t Type, v Version, id uint16, props *Properties, filters []byte) []byte {
	size := 2 + len(filters)
	if v == V5 {
		size += props.sizeWithPrefix()
	}
	dst = appendUint16(appendHeader(dst, t, 2, size), id)
	if v == V5 {
		dst = props.appendTo(dst)
	}
	return append(dst, filters...)
}
