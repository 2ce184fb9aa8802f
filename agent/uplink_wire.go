package agent

import (
	"context"
	"net"
	"sync/atomic"
)

// wireMeter counts what goes over the uplink: every connection of a sink is dialled
// through it. It sees what TCP is given, encryption included, but not the headers
// of TCP and IP, nor what TCP sends twice.
type wireMeter struct{ written, read atomic.Int64 }

func (m *wireMeter) counts() (written, read int64) { return m.written.Load(), m.read.Load() }

// dial opens a connection that is counted.
func (m *wireMeter) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &meteredConn{c, m}, nil
}

type meteredConn struct {
	net.Conn
	meter *wireMeter
}

func (c *meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.meter.read.Add(int64(n))
	return n, err
}

func (c *meteredConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.meter.written.Add(int64(n))
	return n, err
}
