package packet

// Connack is a CONNACK.
type Connack struct {
	SessionPresent bool
	Reason         Reason
	Properties     Properties
}

// returnCodes translates a reason into the CONNACK return code of MQTT 3.1.1,
// which knows only these five refusals.
func returnCode(r Reason) byte {
	switch r {
	case Success:
		return 0
	case UnsupportedProtocolVersion:
		return 1
	case ClientIdentifierNotValid:
		return 2
	case BadUserNameOrPassword, BadAuthenticationMethod:
		return 4
	case NotAuthorized, Banned:
		return 5
	}
	return 3 // server unavailable
}

// Decode reads a CONNACK. A 3.1.1 return code stays as it is in Reason.
func (p *Connack) Decode(v Version, body []byte) error {
	*p = Connack{}
	c := cursor{b: body}
	flags := c.uint8()
	if flags > 1 {
		return malformed("a reserved CONNACK flag is set")
	}
	p.SessionPresent = flags == 1
	p.Reason = Reason(c.uint8())
	if v == V5 {
		c.properties(&p.Properties, inConnack)
	}
	return c.done()
}

// AppendTo writes the packet; for 3.1.1 the reason becomes a return code.
func (p *Connack) AppendTo(dst []byte, v Version) []byte {
	var flags byte
	if p.SessionPresent {
		flags = 1
	}
	if v != V5 {
		return append(appendHeader(dst, TypeConnack, 0, 2), flags, returnCode(p.Reason))
	}
	dst = appendHeader(dst, TypeConnack, 0, 2+p.Properties.sizeWithPrefix())
	return p.Properties.appendTo(append(dst, flags, byte(p.Reason)))
}
