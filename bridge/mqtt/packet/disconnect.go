package packet

// Disconnect is a DISCONNECT or an AUTH: a reason and properties, both of
// which may be left out. In 3.1.1 DISCONNECT is empty and AUTH does not exist.
type Disconnect struct {
	Reason     Reason
	Properties Properties
}

// Decode reads the body of a DISCONNECT.
func (p *Disconnect) Decode(v Version, body []byte) error { return p.decode(v, body, inDisconnect) }

// DecodeAuth reads the body of an AUTH.
func (p *Disconnect) DecodeAuth(v Version, body []byte) error {
	if v != V5 {
		return protocol("AUTH does not exist in MQTT 3.1.1")
	}
	return p.decode(v, body, inAuth)
}

func (p *Disconnect) decode(v Version, body []byte, allowed uint64) error {
	*p = Disconnect{}
	c := cursor{b: body}
	if v == V5 && len(c.b) > 0 {
		p.Reason = Reason(c.uint8())
		if len(c.b) > 0 {
			c.properties(&p.Properties, allowed)
		}
	}
	return c.done()
}

// AppendTo writes the packet as t, TypeDisconnect or TypeAuth.
func (p *Disconnect) AppendTo(dst []byte, v Version, t Type) []byte {
	switch {
	case v != V5 || p.Reason == Success && p.Properties.set == 0:
		return append(dst, byte(t)<<4, 0)
	case p.Properties.set == 0:
		return append(dst, byte(t)<<4, 1, byte(p.Reason))
	}
	dst = appendHeader(dst, t, 0, 1+p.Properties.sizeWithPrefix())
	return p.Properties.appendTo(append(dst, byte(p.Reason)))
}

// AppendPingreq writes a PINGREQ.
func AppendPingreq(dst []byte) []byte { return append(dst, byte(TypePingreq)<<4, 0) }

// AppendPingresp writes a PINGRESP.
func AppendPingresp(dst []byte) []byte { return append(dst, byte(TypePingresp)<<4, 0) }
