package packet

// Connect flags.
const (
	flagCleanStart = 1 << 1
	flagWill       = 1 << 2
	flagWillQoS    = 3 << 3
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUserName   = 1 << 7
)

// Connect is a CONNECT. Its slices are valid as long as the body it was
// decoded from.
type Connect struct {
	Version    Version // what the client asked for, even when Decode refuses it
	CleanStart bool    // Clean Session in 3.1.1
	KeepAlive  uint16  // seconds, 0 for none
	ClientID   []byte
	Properties Properties

	HasUserName, HasPassword bool
	UserName, Password       []byte

	HasWill bool
	Will    Will
}

// Will is the message a server publishes when its client is gone.
type Will struct {
	QoS        byte
	Retain     bool
	Topic      []byte
	Payload    []byte
	Properties Properties
}

// Decode reads a CONNECT. A version that is not spoken here gives
// UnsupportedProtocolVersion with p.Version set, so that it can be answered.
func (p *Connect) Decode(body []byte) error {
	*p = Connect{}
	c := cursor{b: body}
	name := string(c.binary())
	p.Version = Version(c.uint8())
	if c.err != nil {
		return c.err
	}
	if name == "MQIsdp" || name == "MQTT" && p.Version != V311 && p.Version != V5 {
		return &Error{UnsupportedProtocolVersion, "MQTT 3.1.1 and 5.0 are spoken here, the client asked for " + p.Version.String()}
	}
	if name != "MQTT" {
		p.Version = 0
		return protocol("the protocol name is not MQTT")
	}
	flags := c.uint8()
	p.KeepAlive = c.uint16()
	if err := p.setFlags(flags); err != nil && c.err == nil {
		return err
	}
	if p.Version == V5 {
		c.properties(&p.Properties, inConnect)
	}
	p.ClientID = c.text()
	if p.HasWill {
		p.Will.decode(&c, p.Version)
	}
	if p.HasUserName {
		p.UserName = c.text()
	}
	if p.HasPassword {
		p.Password = c.binary()
	}
	return c.done()
}

func (p *Connect) setFlags(flags byte) error {
	p.CleanStart = flags&flagCleanStart != 0
	p.HasWill = flags&flagWill != 0
	p.HasPassword = flags&flagPassword != 0
	p.HasUserName = flags&flagUserName != 0
	p.Will.QoS = flags & flagWillQoS >> 3
	p.Will.Retain = flags&flagWillRetain != 0
	switch {
	case flags&1 != 0:
		return malformed("the reserved CONNECT flag is set")
	case p.Will.QoS == 3:
		return malformed("will QoS 3 does not exist")
	case !p.HasWill && (p.Will.QoS != 0 || p.Will.Retain):
		return malformed("will QoS or will retain without a will")
	case p.Version == V311 && p.HasPassword && !p.HasUserName:
		return malformed("a password without a user name")
	}
	return nil
}

func (w *Will) decode(c *cursor, v Version) {
	if v == V5 {
		c.properties(&w.Properties, inWill)
	}
	w.Topic = c.text()
	w.Payload = c.binary()
	if c.err == nil && !ValidTopic(w.Topic) {
		c.fail(&Error{TopicNameInvalid, "the will topic is empty or has wildcards"})
	}
}

// AppendTo writes the packet.
func (p *Connect) AppendTo(dst []byte) []byte {
	size := 10 + 2 + len(p.ClientID)
	if p.Version == V5 {
		size += p.Properties.sizeWithPrefix()
	}
	if p.HasWill {
		size += 4 + len(p.Will.Topic) + len(p.Will.Payload)
		if p.Version == V5 {
			size += p.Will.Properties.sizeWithPrefix()
		}
	}
	if p.HasUserName {
		size += 2 + len(p.UserName)
	}
	if p.HasPassword {
		size += 2 + len(p.Password)
	}
	dst = appendField(appendHeader(dst, TypeConnect, 0, size), "MQTT")
	dst = appendUint16(append(dst, byte(p.Version), p.flags()), p.KeepAlive)
	if p.Version == V5 {
		dst = p.Properties.appendTo(dst)
	}
	dst = appendField(dst, p.ClientID)
	if p.HasWill {
		if p.Version == V5 {
			dst = p.Will.Properties.appendTo(dst)
		}
		dst = appendField(appendField(dst, p.Will.Topic), p.Will.Payload)
	}
	if p.HasUserName {
		dst = appendField(dst, p.UserName)
	}
	if p.HasPassword {
		dst = appendField(dst, p.Password)
	}
	return dst
}

func (p *Connect) flags() (flags byte) {
	for _, f := range []struct {
		on  bool
		bit byte
	}{
		{p.CleanStart, flagCleanStart}, {p.HasWill, flagWill}, {p.HasWill && p.Will.Retain, flagWillRetain},
		{p.HasPassword, flagPassword}, {p.HasUserName, flagUserName},
	} {
		if f.on {
			flags |= f.bit
		}
	}
	if p.HasWill {
		flags |= p.Will.QoS << 3
	}
	return flags
}
