package mqtt

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"cistern/bridge/mqtt/packet"
)

// conn is one client's connection.
type conn struct {
	s         *Server
	net       net.Conn
	anonymous bool // the listener needs no user name
	ctx       context.Context
	cancel    context.CancelFunc
	quiet     chan struct{} // closed once no more messages are taken from here
	ended     atomic.Bool   // set with the mutex held, see end

	// Known after CONNECT, then constant.
	version   packet.Version
	client    string
	keepAlive time.Duration // one and a half times what the client said; 0: none

	// The serve goroutine's own.
	in      *packet.Reader
	clock   readClock
	scratch *scratch // while packets are at hand
	aliases []string // MQTT 5 topic aliases; index alias-1
	routed  destinations

	aliasBytes int  // of aliases, reserved from Server.memory
	noLocal    bool // some subscription has No Local: records must say who published

	subscriptions map[string]*subscription // by filter

	// Shared, guarded by mu.
	mu         sync.Mutex
	changed    sync.Cond // a slot of the window became free, output was written, or it ended
	reading    bool      // serve waits on changed
	acks       AckQueue
	flushDue   bool            // Complete asked for a Flush
	unreleased map[uint16]bool // QoS 2 packet ids from PUBLISH to PUBREL; true once PUBREC is due
	committed  int             // how many of them are true
	output     output
	deliveries *deliveries // nil without subscriptions
	wishes     wishes
	reason     packet.Reason
	silent     bool // no DISCONNECT: no CONNACK yet, or the client left, or can't be reached
	closed     bool // serve is done: nothing may be started any more
}

// unreleasedMax bounds the QoS 2 packet ids a 3.1.1 client may leave without
// PUBREL; MQTT 5 clients are bounded by ReceiveMaximum.
const unreleasedMax = 4096

// scratch is what handling packets needs and idle connections do without.
type scratch struct {
	publish packet.Publish
	mapper  mapper
}

func newConn(s *Server, nc net.Conn, anonymous bool) *conn {
	c := &conn{s: s, net: nc, anonymous: anonymous, quiet: make(chan struct{}), silent: true}
	c.ctx, c.cancel = context.WithCancel(s.life)
	c.changed.L = &c.mu
	c.in = packet.NewReader((*source)(c), s.limits.ConnectBytes, s.memory)
	return c
}

// end makes the connection end soon: serve stops taking messages, says why and
// closes it. The first reason stays. It never blocks.
func (c *conn) end(r packet.Reason, why string) {
	c.mu.Lock()
	c.endLocked(r, why)
	c.mu.Unlock()
}

func (c *conn) endLocked(r packet.Reason, why string) {
	if c.ended.Load() {
		return
	}
	c.reason = r
	c.ended.Store(true)
	c.changed.Broadcast()
	c.cancel()
	c.wake()
	if r.Failed() && r != packet.ServerShuttingDown {
		c.s.calm.warn("mqtt: client disconnected: "+r.String(), "client", c.client, "remote", c.net.RemoteAddr().String(), "why", why)
	}
}

// wake makes a read that waits for the network return, so that serve looks
// around. The order matters: what is to be seen is stored before.
func (c *conn) wake() { c.net.SetReadDeadline(time.Unix(1, 0)) }

// killLocked ends a connection that can't be talked to any more. The mutex is held.
func (c *conn) killLocked(r packet.Reason, why string) {
	c.endLocked(r, why)
	c.silent = true
	c.net.Close()
}

// readClock decides when a read has waited long enough.
type readClock struct {
	lastRead     time.Time // bytes came, or we were ready for them again
	packetSince  time.Time // the first byte of an incomplete packet came; zero: none
	armed        time.Time // the deadline that is set; zero: none
	fired        bool      // it has passed, and fails every read until it is set anew
	handshakeEnd time.Time // zero once connected
}

// excuse keeps the keep alive from counting time in which the client was not
// read, since its messages waited for room or for the window.
func (k *readClock) excuse(now time.Time) {
	if now.Sub(k.lastRead) > excusedAfter {
		k.lastRead = now
	}
}

const excusedAfter = 100 * time.Millisecond

// shrinkAfter is how long a grown read buffer is kept while nothing comes.
const shrinkAfter = time.Second

// source reads the network for the packet.Reader and arms deadlines lazily: a
// deadline that fires early is set again, so a busy client costs no timers.
type source conn

func (s *source) Read(p []byte) (int, error) {
	c := (*conn)(s)
	k := &c.clock
	if wanted := c.deadline(); k.fired || !wanted.IsZero() && (k.armed.IsZero() || wanted.Before(k.armed)) {
		c.net.SetReadDeadline(wanted) // the zero time clears one that has fired
		k.armed, k.fired = wanted, false
	}
	if c.ended.Load() || c.s.stopping.Load() { // a wake that came before the deadline was set
		return 0, os.ErrDeadlineExceeded
	}
	n, err := c.net.Read(p)
	if n > 0 {
		k.lastRead = time.Now()
		if k.packetSince.IsZero() {
			k.packetSince = k.lastRead
		}
		return n, nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return 0, err
}

// deadline returns when a read should return at the latest.
func (c *conn) deadline() time.Time {
	k := &c.clock
	if !k.handshakeEnd.IsZero() {
		return k.handshakeEnd
	}
	var first time.Time
	earliest := func(t time.Time) {
		if first.IsZero() || t.Before(first) {
			first = t
		}
	}
	if c.keepAlive > 0 {
		earliest(k.lastRead.Add(c.keepAlive))
	}
	if !k.packetSince.IsZero() {
		earliest(k.packetSince.Add(c.s.limits.PacketTime))
	}
	if c.in.Grown() {
		earliest(k.lastRead.Add(shrinkAfter))
	}
	return first
}

// expired is called when a read's deadline has fired. nil means go on.
func (c *conn) expired(now time.Time) error {
	k := &c.clock
	k.fired = true
	switch {
	case !k.handshakeEnd.IsZero():
		return errNoConnect
	case c.keepAlive > 0 && !now.Before(k.lastRead.Add(c.keepAlive)):
		return &packet.Error{Reason: packet.KeepAliveTimeout, What: "nothing came for one and a half times the keep alive"}
	case !k.packetSince.IsZero() && !now.Before(k.packetSince.Add(c.s.limits.PacketTime)):
		return &packet.Error{Reason: packet.MessageRateTooHigh, What: "one packet took too long to arrive"}
	case c.in.Grown() && !now.Before(k.lastRead.Add(shrinkAfter)):
		c.in.Shrink()
	}
	return nil
}
