package packet

// Publish is a PUBLISH. Its slices are valid as long as the body it was
// decoded from: with a Reader, until the next call of Next.
type Publish struct {
	Dup, Retain bool
	QoS         byte
	PacketID    uint16 // 0 when QoS is 0
	Topic       []byte // may be empty in MQTT 5, when a topic alias stands for it
	Payload     []byte
	Properties  Properties
}

// Decode reads a PUBLISH with the flags of its fixed header.
func (p *Publish) Decode(v Version, flags byte, body []byte) error {
	if err := checkPublishFlags(flags); err != nil {
		return err
	}
	p.Dup, p.Retain, p.QoS = flags&flagDup != 0, flags&flagRetain != 0, flags&flagQoS>>1
	p.PacketID = 0
	p.Properties.Reset()
	c := cursor{b: body}
	p.Topic = c.text()
	if p.QoS > 0 {
		p.PacketID = c.packetID()
	}
	if v == V5 {
		c.properties(&p.Properties, inPublish)
	}
	p.Payload = c.b
	if c.err != nil {
		return c.err
	}
	return p.checkTopic(v)
}

func (p *Publish) checkTopic(v Version) error {
	switch {
	case len(p.Topic) > 0:
		if !ValidTopic(p.Topic) {
			return &Error{TopicNameInvalid, "wildcards in the topic of a PUBLISH"}
		}
	case v != V5:
		return malformed("a PUBLISH with an empty topic")
	case !p.Properties.Has(TopicAlias):
		return protocol("a PUBLISH with neither topic nor topic alias")
	}
	return nil
}

// Size returns the size of the whole packet.
func (p *Publish) Size(v Version) int {
	n := p.bodySize(v)
	return 1 + varintSize(uint32(n)) + n
}

func (p *Publish) bodySize(v Version) int {
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	if v == V5 {
		n += p.Properties.sizeWithPrefix()
	}
	return n
}

// AppendTo writes the packet.
func (p *Publish) AppendTo(dst []byte, v Version) []byte {
	flags := p.QoS << 1
	if p.Dup {
		flags |= flagDup
	}
	if p.Retain {
		flags |= flagRetain
	}
	dst = appendHeader(dst, TypePublish, flags, p.bodySize(v))
	dst = appendField(dst, p.Topic)
	if p.QoS > 0 {
		dst = appendUint16(dst, p.PacketID)
	}
	if v == V5 {
		dst = p.Properties.appendTo(dst)
	}
	return append(dst, p.Payload...)
}
