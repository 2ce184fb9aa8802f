package agent

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"cistern/gossip/port"
)

// callers takes the connections of gateways that follow this one, and tells when
// one hangs up. A leader has no connection of its own to a gateway that only
// follows: without this it would wait for a dead copy until gossip has noticed.
type callers struct {
	net.Listener
	hungUp func(name string)
}

// Accept implements net.Listener.
func (l callers) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &caller{Conn: c, hungUp: sync.OnceFunc(func() { l.hungUp(port.PeerName(c)) })}, nil
}

type caller struct {
	net.Conn
	hungUp func()
}

// NetConn returns what is below, as tls.Conn's does: port.PeerName looks there.
func (c *caller) NetConn() net.Conn { return c.Conn }

// Read implements net.Conn.
func (c *caller) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		c.hungUp()
	}
	return n, err
}

// hungUp looks whether a gateway that closed its connection is still there.
func (s *site) hungUp(name string) {
	if m, ok := s.quorum.Image().Member(name); ok && !m.Fenced {
		s.reset(m, nil)
	}
}
