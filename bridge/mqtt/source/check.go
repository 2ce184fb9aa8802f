package source

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// errProtocol marks what a correct broker never sends.
var (
	errProtocol = errors.New("the broker broke the MQTT protocol")
	errPublish  = fmt.Errorf("%w: a malformed PUBLISH", errProtocol)
)

// check is the list of what may come in.
func (g *guard) check(first byte, body []byte) error {
	kind, flags := first>>4, first&0x0f
	if !g.connected {
		// paho takes codes it does not know for success.
		if first != packets.Connack<<4 || len(body) != 2 || body[0] > 1 || body[1] > packets.ErrRefusedNotAuthorised {
			return fmt.Errorf("%w: its first packet is no CONNACK of MQTT 3.1.1", errProtocol)
		}
		g.connected = true
		return nil
	}
	ok := false
	switch kind {
	case packets.Publish:
		topic, _, err := splitPublish(flags, body)
		if err != nil {
			return err
		}
		ok = validTopic(topic)
	case packets.Pubrel:
		ok = flags == 2 && len(body) == 2
	case packets.Suback:
		ok = flags == 0 && g.checkSuback(body)
	case packets.Pingresp:
		ok = flags == 0 && len(body) == 0
	}
	if !ok {
		return fmt.Errorf("%w: unexpected or malformed packet, type %d, flags %#x, %d bytes", errProtocol, kind, flags, len(body))
	}
	return nil
}

func (g *guard) checkSuback(body []byte) bool {
	n := g.awaited.Swap(0)
	if n == 0 || len(body) != 2+int(n) {
		return false
	}
	for _, code := range body[2:] {
		if code > 2 && code != subackFailure {
			return false
		}
	}
	return true
}

// splitPublish finds topic and packet id (0 with QoS 0) of a PUBLISH.
func splitPublish(flags byte, body []byte) (topic []byte, id uint16, err error) {
	qos := flags >> 1 & 3
	if qos == 3 || len(body) < 2 {
		return nil, 0, errPublish
	}
	n := 2 + int(binary.BigEndian.Uint16(body))
	if len(body) < n {
		return nil, 0, errPublish
	}
	topic = body[2:n]
	if qos == 0 {
		return topic, 0, nil
	}
	if len(body) < n+2 {
		return nil, 0, errPublish
	}
	if id = binary.BigEndian.Uint16(body[n:]); id == 0 {
		return nil, 0, errPublish
	}
	return topic, id, nil
}

func validTopic(t []byte) bool {
	if len(t) == 0 || !utf8.Valid(t) {
		return false
	}
	for _, c := range t {
		if c == 0 || c == '+' || c == '#' {
			return false
		}
	}
	return true
}

func readLength(r io.ByteReader) (int, error) {
	n := 0
	for shift := 0; shift < 28; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, noEOF(err)
		}
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%w: a packet length of more than four bytes", errProtocol)
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func appendHeader(dst []byte, first byte, length int) []byte {
	dst = append(dst, first)
	for length >= 0x80 {
		dst = append(dst, byte(length)|0x80)
		length >>= 7
	}
	return append(dst, byte(length))
}
