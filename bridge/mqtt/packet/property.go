package packet

import "iter"

// Property identifies an MQTT 5 property.
type Property byte

// The properties of MQTT 5, section 2.2.2.2.
const (
	PayloadFormatIndicator  Property = 1
	MessageExpiryInterval   Property = 2
	ContentType             Property = 3
	ResponseTopic           Property = 8
	CorrelationData         Property = 9
	SubscriptionIdentifier  Property = 11
	SessionExpiryInterval   Property = 17
	AssignedClientID        Property = 18
	ServerKeepAlive         Property = 19
	AuthenticationMethod    Property = 21
	AuthenticationData      Property = 22
	RequestProblemInfo      Property = 23
	WillDelayInterval       Property = 24
	RequestResponseInfo     Property = 25
	ResponseInformation     Property = 26
	ServerReference         Property = 28
	ReasonString            Property = 31
	ReceiveMaximum          Property = 33
	TopicAliasMaximum       Property = 34
	TopicAlias              Property = 35
	MaximumQoS              Property = 36
	RetainAvailable         Property = 37
	UserProperty            Property = 38
	MaximumPacketSize       Property = 39
	WildcardAvailable       Property = 40
	SubscriptionIDAvailable Property = 41
	SharedAvailable         Property = 42

	propertyMax = 42
)

// kind is how a property's value is written.
type kind byte

const (
	kindNone kind = iota
	kindFlag      // one byte, 0 or 1
	kindUint16
	kindUint32
	kindVarint
	kindText
	kindBinary
	kindPair
)

// kinds tells for each property how it is written and where Properties keeps
// its value: the slot in numbers or in fields.
var kinds = [propertyMax + 1]struct {
	kind kind
	slot byte
}{
	PayloadFormatIndicator: {kindFlag, 0}, MessageExpiryInterval: {kindUint32, 1}, SubscriptionIdentifier: {kindVarint, 2},
	SessionExpiryInterval: {kindUint32, 3}, ServerKeepAlive: {kindUint16, 4}, RequestProblemInfo: {kindFlag, 5},
	WillDelayInterval: {kindUint32, 6}, RequestResponseInfo: {kindFlag, 7}, ReceiveMaximum: {kindUint16, 8},
	TopicAliasMaximum: {kindUint16, 9}, TopicAlias: {kindUint16, 10}, MaximumQoS: {kindFlag, 11},
	RetainAvailable: {kindFlag, 12}, MaximumPacketSize: {kindUint32, 13}, WildcardAvailable: {kindFlag, 14},
	SubscriptionIDAvailable: {kindFlag, 15}, SharedAvailable: {kindFlag, 16},
	ContentType: {kindText, 0}, ResponseTopic: {kindText, 1}, CorrelationData: {kindBinary, 2},
	AssignedClientID: {kindText, 3}, AuthenticationMethod: {kindText, 4}, AuthenticationData: {kindBinary, 5},
	ResponseInformation: {kindText, 6}, ServerReference: {kindText, 7}, ReasonString: {kindText, 8},
	UserProperty: {kindPair, 0},
}

// Properties are the properties of one packet, decoded or to be written. The
// zero value is empty; Reset makes it so again without touching the values.
type Properties struct {
	set     uint64 // bit n: property n is present
	numbers [17]uint32
	fields  [9][]byte
	raw     []byte // the encoded properties, walked for user properties
	users   int
}

// Reset forgets all properties.
func (p *Properties) Reset() { p.set, p.raw, p.users = 0, nil, 0 }

// Empty reports whether there are none.
func (p *Properties) Empty() bool { return p.set == 0 }

// Has reports whether id is present.
func (p *Properties) Has(id Property) bool { return p.set&(1<<id) != 0 }

// Number returns a numeric property, fallback when it is absent.
func (p *Properties) Number(id Property, fallback uint32) uint32 {
	if !p.Has(id) {
		return fallback
	}
	return p.numbers[kinds[id].slot]
}

// Field returns a string or binary property, nil when it is absent.
func (p *Properties) Field(id Property) []byte {
	if !p.Has(id) {
		return nil
	}
	return p.fields[kinds[id].slot]
}

// Users walks the user properties in order. Names may repeat.
func (p *Properties) Users() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		c := cursor{b: p.raw}
		for left := p.users; left > 0 && c.err == nil; {
			id := Property(c.varint())
			if id != UserProperty {
				c.skip(id)
				continue
			}
			left--
			if name, value := c.binary(), c.binary(); c.err != nil || !yield(name, value) {
				return
			}
		}
	}
}

// UserCount returns the number of user properties.
func (p *Properties) UserCount() int { return p.users }

// SetNumber sets a numeric property.
func (p *Properties) SetNumber(id Property, v uint32) {
	p.set |= 1 << id
	p.numbers[kinds[id].slot] = v
}

// SetField sets a string or binary property; the bytes are not copied.
func (p *Properties) SetField(id Property, v []byte) {
	p.set |= 1 << id
	p.fields[kinds[id].slot] = v
}

// AddUser adds a user property to packets that will be written.
func (p *Properties) AddUser(name, value string) {
	p.raw = append(p.raw, byte(UserProperty))
	p.raw = appendField(appendField(p.raw, name), value)
	p.set |= 1 << UserProperty
	p.users++
}

// skip passes over the value of a property that was already checked.
func (c *cursor) skip(id Property) {
	switch kinds[min(id, propertyMax)].kind {
	case kindFlag:
		c.take(1)
	case kindUint16:
		c.take(2)
	case kindUint32:
		c.take(4)
	case kindVarint:
		c.varint()
	default:
		c.binary()
	}
}
