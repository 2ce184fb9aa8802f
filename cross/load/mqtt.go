// Package load makes load that is the same for every server under test: a lean
// MQTT 3.1.1 client that publishes with QoS 1 and measures the time to each
// PUBACK, and the JSON records it sends.
//
// It shares the machine with the server, so it has to be cheap: one goroutine
// per connection in a closed loop, one write for as many PUBLISH packets as
// PUBACKs were just read. It publishes and nothing else; cross/rig has clients
// that behave like devices.
package load

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	connectPacket = 0x10
	connackPacket = 0x20
	publishQoS1   = 0x32
	pubackPacket  = 0x40
	keepAlive     = 60 // seconds
	ackBytes      = 4
	answerTimeout = 30 * time.Second
)

// client is one connection. Packet ids run from 1 to its window, and an id is
// used again once its PUBACK came.
type client struct {
	conn  net.Conn
	in    *bufio.Reader
	topic string

	pool [][]byte // payloads, in turn
	next int
	sent []time.Time // by packet id
	out  []byte

	patience time.Duration // with an answer
}

func connect(address, id, topic string, window int, pool [][]byte) (*client, error) {
	return connectWithin(answerTimeout, address, id, topic, window, pool)
}

func connectWithin(patience time.Duration, address, id, topic string, window int, pool [][]byte) (*client, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, in: bufio.NewReader(conn), topic: topic, pool: pool, sent: make([]time.Time, window+1), patience: patience}
	if err := c.handshake(id); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connecting %s to %s: %w", id, address, err)
	}
	return c, nil
}

func (c *client) handshake(id string) error {
	body := appendString(nil, "MQTT")
	body = append(body, 4 /* 3.1.1 */, 0x02 /* clean session */)
	body = binary.BigEndian.AppendUint16(body, keepAlive)
	body = appendString(body, id)
	packet := appendLength([]byte{connectPacket}, len(body))
	if _, err := c.conn.Write(append(packet, body...)); err != nil {
		return err
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(c.patience))
	var ack [4]byte
	if _, err := io.ReadFull(c.in, ack[:]); err != nil {
		return err
	}
	if ack[0] != connackPacket || ack[3] != 0 {
		return fmt.Errorf("the answer to CONNECT is % x", ack)
	}
	return nil
}

// queue appends a PUBLISH to what the next flush sends.
func (c *client) queue(id uint16, now time.Time) {
	payload := c.pool[c.next]
	c.next = (c.next + 1) % len(c.pool)
	c.out = append(c.out, publishQoS1)
	c.out = appendLength(c.out, 2+len(c.topic)+2+len(payload))
	c.out = appendString(c.out, c.topic)
	c.out = binary.BigEndian.AppendUint16(c.out, id)
	c.out = append(c.out, payload...)
	c.sent[id] = now
}

func (c *client) flush() error {
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// acks waits for a PUBACK and returns the packet ids of it and of those that
// came with it.
func (c *client) acks(ids []uint16) ([]uint16, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(c.patience))
	for first := true; first || c.in.Buffered() >= ackBytes; first = false {
		var b [ackBytes]byte
		if _, err := io.ReadFull(c.in, b[:]); err != nil {
			return ids, err
		}
		id := binary.BigEndian.Uint16(b[2:])
		if b[0] != pubackPacket || b[1] != 2 || id == 0 || int(id) >= len(c.sent) || c.sent[id].IsZero() {
			return ids, fmt.Errorf("% x is no PUBACK for anything in flight", b)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// took notes the time from PUBLISH to PUBACK and frees the id.
func (c *client) took(id uint16, now time.Time) time.Duration {
	d := now.Sub(c.sent[id])
	c.sent[id] = time.Time{}
	return d
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// appendLength appends MQTT's variable byte integer.
func appendLength(b []byte, n int) []byte {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}
