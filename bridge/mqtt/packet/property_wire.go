package packet

// Which properties a packet may carry, as a set of bits.
var (
	inConnect     = bits(SessionExpiryInterval, AuthenticationMethod, AuthenticationData, RequestProblemInfo, RequestResponseInfo, ReceiveMaximum, TopicAliasMaximum, UserProperty, MaximumPacketSize)
	inWill        = bits(PayloadFormatIndicator, MessageExpiryInterval, ContentType, ResponseTopic, CorrelationData, WillDelayInterval, UserProperty)
	inConnack     = bits(SessionExpiryInterval, AssignedClientID, ServerKeepAlive, AuthenticationMethod, AuthenticationData, ResponseInformation, ServerReference, ReasonString, ReceiveMaximum, TopicAliasMaximum, MaximumQoS, RetainAvailable, UserProperty, MaximumPacketSize, WildcardAvailable, SubscriptionIDAvailable, SharedAvailable)
	inPublish     = bits(PayloadFormatIndicator, MessageExpiryInterval, ContentType, ResponseTopic, CorrelationData, SubscriptionIdentifier, TopicAlias, UserProperty)
	inAck         = bits(ReasonString, UserProperty)
	inSubscribe   = bits(SubscriptionIdentifier, UserProperty)
	inUnsubscribe = bits(UserProperty)
	inDisconnect  = bits(SessionExpiryInterval, ServerReference, ReasonString, UserProperty)
	inAuth        = bits(AuthenticationMethod, AuthenticationData, ReasonString, UserProperty)
)

func bits(ids ...Property) (set uint64) {
	for _, id := range ids {
		set |= 1 << id
	}
	return set
}

// properties reads the property length and the properties into p.
func (c *cursor) properties(p *Properties, allowed uint64) {
	p.Reset()
	inner := cursor{b: c.take(int(c.varint()))}
	p.raw = inner.b
	for len(inner.b) > 0 && inner.err == nil {
		inner.property(p, allowed)
	}
	if inner.err == nil && p.Has(AuthenticationData) && !p.Has(AuthenticationMethod) {
		inner.fail(protocol("authentication data without a method"))
	}
	if inner.err != nil {
		c.fail(inner.err)
	}
}

func (c *cursor) property(p *Properties, allowed uint64) {
	id := c.varint()
	if c.err != nil {
		return
	}
	if id > propertyMax || allowed&(1<<id) == 0 {
		c.fail(malformed("a property that this packet can't have"))
		return
	}
	what := Property(id)
	if p.Has(what) && what != UserProperty {
		c.fail(protocol("a property appears twice"))
		return
	}
	p.set |= 1 << id
	slot := kinds[id].slot
	switch kinds[id].kind {
	case kindFlag:
		p.numbers[slot] = uint32(c.uint8())
	case kindUint16:
		p.numbers[slot] = uint32(c.uint16())
	case kindUint32:
		p.numbers[slot] = c.uint32()
	case kindVarint:
		p.numbers[slot] = c.varint()
	case kindText:
		p.fields[slot] = c.text()
	case kindBinary:
		p.fields[slot] = c.binary()
	case kindPair:
		c.text()
		c.text()
		p.users++
	}
	if c.err == nil {
		c.check(p, what)
	}
}

// check holds the rules about values.
func (c *cursor) check(p *Properties, id Property) {
	v := p.numbers[kinds[id].slot]
	switch id {
	case TopicAlias:
		if v == 0 {
			c.fail(&Error{TopicAliasInvalid, "topic alias 0"})
		}
	case ReceiveMaximum, MaximumPacketSize, SubscriptionIdentifier:
		if v == 0 {
			c.fail(protocol("a property that can't be 0 is 0"))
		}
	case ResponseTopic:
		if !ValidTopic(p.Field(id)) {
			c.fail(protocol("the response topic is empty or has wildcards"))
		}
	case UserProperty:
		if p.users > UserPropertiesMax {
			c.fail(&Error{ImplementationSpecificError, "more user properties than this server takes"})
		}
	default:
		if kinds[id].kind == kindFlag && v > 1 {
			c.fail(protocol("a property that is 0 or 1 is neither"))
		}
	}
}

// size returns the encoded size of p without its length prefix.
func (p *Properties) size() int {
	n := 0
	for id := Property(1); id <= propertyMax; id++ {
		if !p.Has(id) {
			continue
		}
		switch k := kinds[id]; k.kind {
		case kindFlag:
			n += 2
		case kindUint16:
			n += 3
		case kindUint32:
			n += 5
		case kindVarint:
			n += 1 + varintSize(p.numbers[k.slot])
		case kindText, kindBinary:
			n += 3 + len(p.fields[k.slot])
		}
	}
	for name, value := range p.Users() {
		n += 5 + len(name) + len(value)
	}
	return n
}

// sizeWithPrefix returns the bytes appendTo will add.
func (p *Properties) sizeWithPrefix() int {
	n := p.size()
	return varintSize(uint32(n)) + n
}

// appendTo writes p with its length prefix.
func (p *Properties) appendTo(dst []byte) []byte {
	if p.set == 0 {
		return append(dst, 0)
	}
	dst = appendVarint(dst, uint32(p.size()))
	for id := Property(1); id <= propertyMax; id++ {
		if p.Has(id) {
			dst = p.appendOne(dst, id)
		}
	}
	for name, value := range p.Users() {
		dst = appendField(appendField(append(dst, byte(UserProperty)), name), value)
	}
	return dst
}

func (p *Properties) appendOne(dst []byte, id Property) []byte {
	k := kinds[id]
	if k.kind == kindPair {
		return dst
	}
	dst = append(dst, byte(id))
	switch k.kind {
	case kindFlag:
		return append(dst, byte(p.numbers[k.slot]))
	case kindUint16:
		return appendUint16(dst, uint16(p.numbers[k.slot]))
	case kindUint32:
		return appendUint32(dst, p.numbers[k.slot])
	case kindVarint:
		return appendVarint(dst, p.numbers[k.slot])
	}
	return appendField(dst, p.fields[k.slot])
}
