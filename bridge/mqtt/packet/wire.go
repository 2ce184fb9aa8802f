package packet

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// parseVarint reads a variable byte integer. n is 0 when b ends before it
// does; ok is false when it is longer than four bytes or than it needs to be.
func parseVarint(b []byte) (v uint32, n int, ok bool) {
	for i := 0; i < len(b) && i < 4; i++ {
		v |= uint32(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			return v, i + 1, i == 0 || b[i] != 0
		}
	}
	return 0, 0, len(b) < 4
}

func appendVarint(dst []byte, v uint32) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

func varintSize(v uint32) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

func appendUint16(dst []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(dst, v) }
func appendUint32(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }

// appendField writes a string or binary field. What does not fit 16 bits of
// length is cut: callers hold to StringBytesMax, this only keeps the stream whole.
func appendField[T string | []byte](dst []byte, s T) []byte {
	s = s[:min(len(s), StringBytesMax)]
	return append(appendUint16(dst, uint16(len(s))), s...)
}

// cursor reads fields from a packet's body. The first failure sticks: every
// later read gives zero, so a decoder checks err once, where it matters.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.b = nil
}

// take returns the next n bytes, nil when there are fewer.
func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.fail(malformed("the packet ends early"))
		return nil
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) uint8() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if b := c.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) uint32() uint32 {
	if b := c.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) varint() uint32 {
	v, n, ok := parseVarint(c.b)
	if n == 0 || !ok {
		c.fail(malformed("a varint is cut short or longer than it needs to be"))
		return 0
	}
	c.b = c.b[n:]
	return v
}

// packetID reads a packet identifier, which is never 0.
func (c *cursor) packetID() uint16 {
	id := c.uint16()
	if id == 0 && c.err == nil {
		c.fail(protocol("packet identifier 0"))
	}
	return id
}

func (c *cursor) binary() []byte { return c.take(int(c.uint16())) }

// text reads a UTF-8 string: well formed, no surrogates, no U+0000.
func (c *cursor) text() []byte {
	s := c.binary()
	if c.err == nil && !validText(s) {
		c.fail(malformed("a string is not valid UTF-8 or contains U+0000"))
		return nil
	}
	return s
}

// done reports the first failure, or that bytes are left over.
func (c *cursor) done() error {
	if c.err == nil && len(c.b) > 0 {
		return malformed("bytes are left over after the packet's last field")
	}
	return c.err
}

func validText(s []byte) bool {
	return utf8.Valid(s) && bytes.IndexByte(s, 0) < 0
}
