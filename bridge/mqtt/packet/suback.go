package packet

// Suback is a SUBACK or an UNSUBACK: one reason per topic filter, in order.
// The UNSUBACK of 3.1.1 has none.
type Suback struct {
	PacketID   uint16
	Properties Properties
	Reasons    []byte // Reason codes; valid as long as the body
}

// Decode reads the body of a SUBACK or UNSUBACK.
func (p *Suback) Decode(v Version, body []byte) error {
	c := cursor{b: body}
	p.Properties.Reset()
	p.PacketID = c.packetID()
	if v == V5 {
		c.properties(&p.Properties, inAck)
	}
	p.Reasons = c.b
	return c.err
}

// AppendTo writes the packet as t. A 3.1.1 client knows one failure, 0x80.
func (p *Suback) AppendTo(dst []byte, v Version, t Type) []byte {
	if v == V5 {
		dst = appendHeader(dst, t, 0, 2+p.Properties.sizeWithPrefix()+len(p.Reasons))
		dst = p.Properties.appendTo(appendUint16(dst, p.PacketID))
		return append(dst, p.Reasons...)
	}
	if t == TypeUnsuback {
		return appendUint16(appendHeader(dst, t, 0, 2), p.PacketID)
	}
	dst = appendUint16(appendHeader(dst, t, 0, 2+len(p.Reasons)), p.PacketID)
	for _, r := range p.Reasons {
		dst = append(dst, min(r, byte(UnspecifiedError)))
	}
	return dst
}
