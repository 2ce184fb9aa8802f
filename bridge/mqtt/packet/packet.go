package packet

import "fmt"

// Limits of the format and of this package.
const (
	RemainingLengthMax = 268_435_455 // the largest four-byte varint
	StringBytesMax     = 65_535      // a string or binary field has a 16-bit length
	UserPropertiesMax  = 128         // user properties of one packet; our own limit
)

// Version is the protocol level of a CONNECT.
type Version byte

// The versions that are spoken here.
const (
	V311 Version = 4
	V5   Version = 5
)

// String returns the version's usual name.
func (v Version) String() string {
	switch v {
	case V311:
		return "3.1.1"
	case V5:
		return "5.0"
	}
	return fmt.Sprintf("level %d", byte(v))
}

// Type is a control packet type.
type Type byte

// The control packet types.
const (
	TypeConnect Type = iota + 1
	TypeConnack
	TypePublish
	TypePuback
	TypePubrec
	TypePubrel
	TypePubcomp
	TypeSubscribe
	TypeSuback
	TypeUnsubscribe
	TypeUnsuback
	TypePingreq
	TypePingresp
	TypeDisconnect
	TypeAuth
)

var typeNames = [16]string{
	"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

// String returns the type's name as the specification writes it.
func (t Type) String() string { return typeNames[t&15] }

// Header is the fixed header that every packet starts with.
type Header struct {
	Type   Type
	Flags  byte
	Length int // remaining length: bytes after the fixed header
}

// Publish flags, bits of the fixed header.
const (
	flagRetain = 1 << 0
	flagQoS    = 3 << 1
	flagDup    = 1 << 3
)

// ParseHeader reads the fixed header at the start of b and returns how many
// bytes it takes; 0 means that b is too short to tell.
func ParseHeader(b []byte) (Header, int, error) {
	if len(b) == 0 {
		return Header{}, 0, nil
	}
	h := Header{Type: Type(b[0] >> 4), Flags: b[0] & 15}
	if err := h.checkFlags(); err != nil {
		return h, 0, err
	}
	length, n, ok := parseVarint(b[1:])
	if !ok {
		return h, 0, malformed("the remaining length is not a varint of one to four bytes")
	}
	if n == 0 {
		return h, 0, nil
	}
	h.Length = int(length)
	return h, 1 + n, nil
}

func (h Header) checkFlags() error {
	switch h.Type {
	case 0:
		return malformed("packet type 0 is reserved")
	case TypePublish:
		return checkPublishFlags(h.Flags)
	case TypePubrel, TypeSubscribe, TypeUnsubscribe:
		if h.Flags != 2 {
			return malformed("reserved flags of PUBREL, SUBSCRIBE and UNSUBSCRIBE must be 0010")
		}
	default:
		if h.Flags != 0 {
			return malformed("reserved flags must be 0")
		}
	}
	return nil
}

func checkPublishFlags(flags byte) error {
	switch {
	case flags&flagQoS == flagQoS:
		return malformed("QoS 3 does not exist")
	case flags&(flagQoS|flagDup) == flagDup:
		return malformed("DUP is set on a QoS 0 PUBLISH")
	}
	return nil
}

// appendHeader writes a fixed header.
func appendHeader(dst []byte, t Type, flags byte, length int) []byte {
	return appendVarint(append(dst, byte(t)<<4|flags), uint32(length))
}
