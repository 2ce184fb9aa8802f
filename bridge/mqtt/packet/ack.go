package packet

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP: they look the same.
type Ack struct {
	PacketID   uint16
	Reason     Reason // always Success in 3.1.1
	Properties Properties
}

// Decode reads the body of one of the four.
func (p *Ack) Decode(v Version, body []byte) error {
	p.Reason = Success
	p.Properties.Reset()
	c := cursor{b: body}
	p.PacketID = c.packetID()
	if v == V5 && len(c.b) > 0 {
		p.Reason = Reason(c.uint8())
		if len(c.b) > 0 {
			c.properties(&p.Properties, inAck)
		}
	}
	return c.done()
}

// AppendAck writes one of the four in its shortest form.
func AppendAck(dst []byte, v Version, t Type, id uint16, r Reason) []byte {
	var flags byte
	if t == TypePubrel {
		flags = 2
	}
	if v != V5 || r == Success {
		return append(dst, byte(t)<<4|flags, 2, byte(id>>8), byte(id))
	}
	return append(dst, byte(t)<<4|flags, 3, byte(id>>8), byte(id), byte(r))
}
