package mqtt

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"cistern/bridge/mqtt/packet"
)

// How serve may end besides an *packet.Error.
var (
	errNoConnect = errors.New("no CONNECT in time")
	errEnded     = errors.New("ended from elsewhere") // see conn.end
	errStopping  = errors.New("the server stops")
	errLeft      = errors.New("the client said DISCONNECT")
)

// serve is a connection's life, in its own goroutine.
func (c *conn) serve() {
	defer c.s.forget(c)
	err := c.connect()
	if err != nil {
		c.s.count.connectsFailed.Inc()
		close(c.quiet)
		c.close()
		return
	}
	for err == nil {
		var h packet.Header
		var body []byte
		if h, body, err = c.next(); err == nil {
			err = c.handle(h, body)
		}
	}
	c.rest()
	if errors.Is(err, errStopping) {
		c.drain()
	}
	c.fail(err)
	c.s.fanout.leave(c)
	c.s.yield(c)
	c.s.count.end(c.reason)
	c.close()
}

// next returns the next packet. Before it waits for the network, it sends what
// the packets before have left to send and gives the scratch memory back.
func (c *conn) next() (packet.Header, []byte, error) {
	if !c.in.Ready() {
		c.rest()
		c.clock.excuse(time.Now())
		c.mu.Lock()
		c.flush()
		c.mu.Unlock()
	}
	for {
		if err := c.lookAround(); err != nil {
			return packet.Header{}, nil, err
		}
		h, body, err := c.in.Next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if err = c.lookAround(); err == nil {
				err = c.expired(time.Now())
			}
			if err == nil {
				continue
			}
		}
		c.clock.packetSince = time.Time{}
		if err == nil && c.in.Buffered() > 0 {
			c.clock.packetSince = c.clock.lastRead
		}
		return h, body, err
	}
}

// lookAround reports whether somebody else wants serve to end.
func (c *conn) lookAround() error {
	if c.ended.Load() {
		return errEnded
	}
	if c.s.stopping.Load() {
		return errStopping
	}
	return nil
}

// rest gives the scratch memory back.
func (c *conn) rest() {
	if c.scratch != nil {
		c.scratch.mapper.clean()
		c.s.scratch.Put(c.scratch)
		c.scratch = nil
		c.routed.long = destination{}
	}
}

// handle acts on one packet.
func (c *conn) handle(h packet.Header, body []byte) error {
	switch h.Type {
	case packet.TypePublish:
		return c.publish(h.Flags, body)
	case packet.TypePubrel:
		return c.pubrel(body)
	case packet.TypePuback, packet.TypePubrec, packet.TypePubcomp:
		return c.acked(h.Type, body)
	case packet.TypeSubscribe:
		return c.subscribe(body)
	case packet.TypeUnsubscribe:
		return c.unsubscribe(body)
	case packet.TypePingreq:
		return c.ping(body)
	case packet.TypeDisconnect:
		return c.disconnected(body)
	}
	return &packet.Error{Reason: packet.ProtocolError, What: "a client can't send " + h.Type.String() + " here"}
}

func (c *conn) ping(body []byte) error {
	if len(body) > 0 {
		return &packet.Error{Reason: packet.MalformedPacket, What: "a PINGREQ with a body"}
	}
	c.answer(packet.AppendPingresp)
	return nil
}

func (c *conn) disconnected(body []byte) error {
	var p packet.Disconnect
	if err := p.Decode(c.version, body); err != nil {
		return err
	}
	return errLeft
}

// drain waits for the acks that are due when the server stops. Server.endAll
// bounds it.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.acks.Len() > 0 && !c.ended.Load() {
		c.reading = true
		c.changed.Wait()
	}
	c.reading = false
}

// fail turns the reason why serve ended into the connection's end.
func (c *conn) fail(err error) {
	var wrong *packet.Error
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.As(err, &wrong):
		c.endLocked(wrong.Reason, wrong.What)
	case errors.Is(err, errStopping):
		c.endLocked(packet.ServerShuttingDown, "the gateway stops")
	case errors.Is(err, errEnded):
	default: // DISCONNECT, EOF, a broken connection
		c.endLocked(packet.Success, "")
		c.silent = true
	}
}

// Bounds for how long a connection that was told why it ends is kept open for the
// client to read it.
const (
	lingerTime = time.Second     // without a byte from the client
	lingerMax  = 5 * time.Second // in all, once it is known who the client is; before it is lingerTime
)

// close writes what is left to say and closes the connection. The memory goes back
// first: the client may take a while to hear it.
func (c *conn) close() {
	c.in.Close()
	c.aliases = nil
	c.s.memory.Release(c.aliasBytes)
	c.mu.Lock()
	if !c.silent {
		c.output.control = 0 // the last word always fits
		if c.version == packet.V5 {
			p := packet.Disconnect{Reason: c.reason}
			c.control(func(b []byte) []byte { return p.AppendTo(b, c.version, packet.TypeDisconnect) })
		}
		c.net.SetWriteDeadline(time.Now().Add(lingerTime))
		c.flushed()
	}
	silent := c.silent
	c.mu.Unlock()
	if !silent {
		linger(c.net, lingerMax)
	}
	c.net.Close()
	c.mu.Lock()
	c.closed = true
	for c.output.writing {
		c.changed.Wait()
	}
	c.mu.Unlock()
	c.cancel()
}

// linger closes our side and reads on for a moment, and as long as the client still
// sends, up to a limit: closing with unread input would reset the connection and take
// the last acks with it.
func linger(nc net.Conn, limit time.Duration) {
	half, ok := nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	io.Copy(io.Discard, lingering{nc, time.Now().Add(limit)})
}

// lingering is read until nothing comes, or the end.
type lingering struct {
	net.Conn
	end time.Time
}

func (l lingering) Read(b []byte) (int, error) {
	deadline := time.Now().Add(lingerTime)
	if deadline.After(l.end) {
		deadline = l.end
	}
	l.SetReadDeadline(deadline)
	return l.Conn.Read(b)
}
