package port

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// SilenceMax is how long a peer's machine may be silent before TCP gives the
// connection up: whether it owes an acknowledgement or is merely idle.
const SilenceMax = 8 * time.Second

// keepAlive asks an idle peer after 5 s, then every second.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: time.Second, Count: 3}

// conn is an accepted TCP connection, below TLS, that is accounted for until
// it is closed.
type conn struct {
	*net.TCPConn
	host netip.Addr

	closing sync.Once
	forget  func() // takes it off the port's list
	mu      sync.Mutex
	release func() // takes it off its listener's count; nil before it has one
	closed  bool
}

func newConn(raw *net.TCPConn) *conn {
	limitSilence(raw)
	addr, _ := raw.RemoteAddr().(*net.TCPAddr)
	return &conn{TCPConn: raw, host: addr.AddrPort().Addr().Unmap()}
}

// Close closes the connection and gives back what it was counted for.
func (c *conn) Close() error {
	err := c.TCPConn.Close()
	c.closing.Do(func() {
		c.forget()
		c.mu.Lock()
		c.closed = true
		release := c.release
		c.mu.Unlock()
		if release != nil {
			release()
		}
	})
	return err
}

// onClose has f called when c is closed: at once if it is.
func (c *conn) onClose(f func()) {
	c.mu.Lock()
	closed := c.closed
	c.release = f
	c.mu.Unlock()
	if closed {
		f()
	}
}
