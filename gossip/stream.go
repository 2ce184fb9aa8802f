package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// errStreamTooLong ends a stream that goes beyond streamBytesMax.
var errStreamTooLong = errors.New("gossip: a stream is longer than any site needs")

// stream is a TCP connection of gossip that is read up to streamBytesMax.
type stream struct {
	net.Conn
	left     int         // bytes that may still be read; of the reading goroutine alone
	answered atomic.Bool // something was read
	closing  sync.Once
	closed   func(answered bool)
}

func newStream(c net.Conn, closed func(answered bool)) *stream {
	return &stream{Conn: c, left: streamBytesMax, closed: closed}
}

// Read reads no more than what is left.
func (s *stream) Read(b []byte) (int, error) {
	if s.left == 0 {
		return 0, errStreamTooLong
	}
	n, err := s.Conn.Read(b[:min(len(b), s.left)])
	s.left -= n
	if n > 0 {
		s.answered.Store(true)
	}
	return n, err
}

// Close closes the stream, and tells once whether anything was read from it.
func (s *stream) Close() error {
	err := s.Conn.Close()
	s.closing.Do(func() { s.closed(s.answered.Load()) })
	return err
}

// admit takes an incoming stream, or closes it and returns nil when there are
// too many.
func (t *transport) admit(raw *net.TCPConn) *stream {
	host := raw.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	t.mu.Lock()
	defer t.mu.Unlock()
	sameHost := 0
	for _, h := range t.inbound {
		if h == host {
			sameHost++
		}
	}
	if len(t.inbound) == streamsMax || sameHost == streamsPerHostMax {
		raw.Close()
		return nil
	}
	var s *stream
	s = newStream(raw, func(bool) {
		t.mu.Lock()
		delete(t.inbound, s)
		t.mu.Unlock()
	})
	t.inbound[s] = host
	return s
}

// DialTimeout opens a stream to an address.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout opens a stream to a member. memberlist does so to compare
// everything, and when a probe by packets went unanswered: so if this remains
// unanswered, too, the member can't be reached from here.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	if _, err := netip.ParseAddrPort(a.Addr); err != nil {
		return nil, fmt.Errorf("gossip: %w", err) // names are resolved by the joiner, not here
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", a.Addr)
	if err != nil {
		t.tellReached(a.Name, false)
		return nil, err
	}
	return newStream(c, func(answered bool) { t.tellReached(a.Name, answered) }), nil
}

func (t *transport) tellReached(name string, ok bool) {
	if name != "" && t.ctx.Err() == nil {
		t.reached(name, ok)
	}
}
