package mqttsink

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// errProtocol marks what a correct broker never sends.
var errProtocol = errors.New("the broker broke the MQTT protocol")

// errSilent is why paho closes a connection that has not failed.
var errSilent = errors.New("the broker did not answer in time")

const (
	guardBufferBytes = 4 << 10
	writeBytes       = 16 << 10         // of one write, which has
	writeTimeout     = 30 * time.Second // to leave
	skipBytesMax     = 1 << 20          // of a packet that nobody wants
)

// guard is the connection as paho sees it. It hands on only what a broker may
// send to a client that publishes and never subscribes: CONNACK, the answers to
// PUBLISH, PINGRESP. All of them have two bytes or none, so there is no length
// to be afraid of.
type guard struct {
	net.Conn
	in       *bufio.Reader
	end      func(error) // told why the connection ends, before paho is
	answered func()

	connected bool // CONNACK has passed; by paho's one reader
	packet    [4]byte
	rest      []byte

	writing sync.Mutex
	moved   atomic.Int64  // when something was written last, unix ns
	wrote   chan struct{} // gets a value when a whole PUBLISH was written
}

func newGuard(nc net.Conn) *guard {
	return &guard{Conn: nc, in: bufio.NewReaderSize(nc, guardBufferBytes), wrote: make(chan struct{}, 1)}
}

// SetWriteDeadline is paho's, which knows only the time for a whole packet. On a
// slow line a large one may take minutes; Write looks at whether it moves.
func (g *guard) SetWriteDeadline(time.Time) error { return nil }

// Write writes one whole packet: that is how paho calls it, from more than one
// goroutine.
func (g *guard) Write(p []byte) (n int, err error) {
	g.writing.Lock()
	defer g.writing.Unlock()
	for n < len(p) && err == nil {
		if err = g.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err == nil {
			var k int
			k, err = g.Conn.Write(p[n:min(len(p), n+writeBytes)])
			n += k
			g.moved.Store(time.Now().UnixNano())
		}
	}
	if err != nil {
		g.end(fmt.Errorf("write: %w", err))
		return n, err
	}
	if p[0]>>4 == packets.Publish {
		select {
		case g.wrote <- struct{}{}:
		default:
		}
	}
	return n, nil
}

// Close is called by paho when it gives the connection up. Unless reading or
// writing has failed before, that is because the broker has gone silent.
func (g *guard) Close() error {
	g.end(errSilent)
	return g.Conn.Close()
}

// Read hands paho the next checked bytes.
func (g *guard) Read(p []byte) (int, error) {
	for len(g.rest) == 0 {
		if err := g.next(); err != nil {
			g.end(err)
			return 0, err
		}
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

// next reads a packet into rest, or leaves rest empty if paho need not see it.
func (g *guard) next() error {
	first, err := g.in.ReadByte()
	if err != nil {
		return err
	}
	length, err := binary.ReadUvarint(g.in)
	if err != nil {
		return err
	}
	known := false
	switch first {
	case packets.Connack << 4:
		known = !g.connected
	case packets.Puback << 4, packets.Pubrec << 4, packets.Pubcomp << 4, packets.Pingresp << 4:
		known = g.connected
	}
	if !known {
		return g.skip(first, length)
	}
	want := uint64(2)
	if first == packets.Pingresp<<4 {
		want = 0
	}
	if length != want {
		return fmt.Errorf("%w: packet type %d of %d bytes", errProtocol, first>>4, length)
	}
	body := g.packet[2 : 2+length]
	if _, err := io.ReadFull(g.in, body); err != nil {
		return err
	}
	if first == packets.Connack<<4 {
		// paho takes codes it does not know for success.
		if body[0] > 1 || body[1] > packets.ErrRefusedNotAuthorised {
			return fmt.Errorf("%w: a CONNACK of code %d", errProtocol, body[1])
		}
		g.connected = true
	}
	g.packet[0], g.packet[1] = first, byte(length)
	g.rest = g.packet[:2+length]
	g.answered()
	return nil
}

// skip throws away what nobody asked for: another user of the client id may have
// left subscriptions behind.
func (g *guard) skip(first byte, length uint64) error {
	if !g.connected || first>>4 != packets.Publish || length > skipBytesMax {
		return fmt.Errorf("%w: unexpected packet type %d of %d bytes", errProtocol, first>>4, length)
	}
	_, err := g.in.Discard(int(length))
	return err
}
