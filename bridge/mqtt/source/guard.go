package source

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

const (
	guardBufferBytes = 16 << 10 // one read of the socket serves many small packets
	guardKeepBytes   = 64 << 10 // a larger packet's memory is given back
	writeTimeout     = 30 * time.Second
)

// errSilent is why paho closes a connection that has not failed.
var errSilent = errors.New("the broker did not answer PINGREQ in time")

// guard is the connection as paho sees it. It reads whole packets from the
// socket, with limits checked before memory is spent, and hands on only those
// that a broker may send to a client that subscribes and never publishes.
// It also spares paho two system calls per packet.
type guard struct {
	net.Conn
	in   *bufio.Reader
	end  func(error) // told why the connection ends, before paho is; the first reason counts
	drop func(topic string, bytes int, qos byte)

	// Read only, by paho's one reader.
	body      []byte
	rest      []byte // what paho has not taken of the packet
	connected bool   // CONNACK has passed

	patience atomic.Int64  // of Close; see linger
	over     chan struct{} // closed when reading has failed
	ended    sync.Once

	awaited atomic.Int32 // return codes the one awaited SUBACK must carry; 0: none is awaited

	mu     sync.Mutex
	bigger map[uint16]int // packet ids whose payload was too large and has been cut off
}

func newGuard(conn net.Conn) *guard {
	return &guard{
		Conn:   conn,
		in:     bufio.NewReaderSize(conn, guardBufferBytes),
		end:    func(error) {},
		drop:   func(string, int, byte) {},
		over:   make(chan struct{}),
		bigger: make(map[uint16]int),
	}
}

// expectSuback allows one SUBACK with n return codes. paho writes the codes
// into a map without a lock and indexes a slice by their number, so a second
// or a longer one must not reach it.
func (g *guard) expectSuback(n int) { g.awaited.Store(int32(n)) }

// cut reports whether the message with this packet id came without its
// payload, which was too large, and forgets about it.
func (g *guard) cut(id uint16) (bytes int, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	bytes, ok = g.bigger[id]
	delete(g.bigger, id)
	return bytes, ok
}

// Write bounds the time a broker that does not read can hold us.
func (g *guard) Write(p []byte) (int, error) {
	err := g.SetWriteDeadline(time.Now().Add(writeTimeout))
	n := 0
	if err == nil {
		n, err = g.Conn.Write(p)
	}
	if err != nil {
		g.end(fmt.Errorf("write: %w", err))
	}
	return n, err
}

// Close is called by paho when it gives the connection up. Unless reading or
// writing has failed before, that is because the broker has gone silent. paho
// then waits for its handler, which therefore has to hear of it here.
func (g *guard) Close() error {
	g.end(errSilent)
	if patience := time.Duration(g.patience.Load()); patience > 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-g.over:
		case <-timer.C:
		}
	}
	return g.Conn.Close()
}

// linger makes Close wait for the broker, which closes when it has seen
// DISCONNECT. If we were back before that (a fast restart), the broker would
// throw the old connection away with the acknowledgements it has not read, and
// send their messages again.
func (g *guard) linger(patience time.Duration) { g.patience.Store(int64(patience)) }

// Read hands paho the next checked bytes.
func (g *guard) Read(p []byte) (int, error) {
	for len(g.rest) == 0 {
		packet, err := g.next()
		if err != nil {
			g.end(err)
			g.ended.Do(func() { close(g.over) })
			return 0, err
		}
		g.rest = packet
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

// next reads one packet. Nil without an error is a packet paho need not see.
func (g *guard) next() ([]byte, error) {
	first, err := g.in.ReadByte()
	if err != nil {
		return nil, err
	}
	length, err := readLength(g.in)
	if err != nil {
		return nil, err
	}
	if length > PacketBytesMax {
		if first>>4 == packets.Publish {
			return g.cutPublish(first, length)
		}
		return nil, fmt.Errorf("%w: packet type %d of %d bytes", errProtocol, first>>4, length)
	}
	if cap(g.body) > guardKeepBytes {
		g.body = nil
	}
	g.body = appendHeader(g.body[:0], first, length)
	start := len(g.body)
	g.body = append(g.body, make([]byte, length)...)
	if _, err := io.ReadFull(g.in, g.body[start:]); err != nil {
		return nil, err
	}
	if err := g.check(first, g.body[start:]); err != nil {
		return nil, err
	}
	return g.body, nil
}

// cutPublish reads a PUBLISH that is too large to be stored and hands it on
// without its payload, so that it can be counted and acknowledged in its turn:
// refusing it would make the broker send it again for ever.
func (g *guard) cutPublish(first byte, length int) ([]byte, error) {
	head := make([]byte, 2+65535+2) // rare: not worth keeping
	if _, err := io.ReadFull(g.in, head[:2]); err != nil {
		return nil, err
	}
	size := 2 + int(binary.BigEndian.Uint16(head))
	if qos := first >> 1 & 3; qos > 0 {
		size += 2
	}
	if _, err := io.ReadFull(g.in, head[2:size]); err != nil { // length > PacketBytesMax > size
		return nil, err
	}
	if err := g.check(first, head[:size]); err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, g.in, int64(length-size)); err != nil {
		return nil, err
	}
	topic, id, err := splitPublish(first&0x0f, head[:size])
	if err != nil {
		return nil, err
	}
	g.drop(string(topic), length-size, first>>1&3)
	if id == 0 {
		return nil, nil // QoS 0: nothing to acknowledge
	}
	g.mu.Lock()
	g.bigger[id] = length - size
	g.mu.Unlock()
	return append(appendHeader(nil, first, size), head[:size]...), nil
}
