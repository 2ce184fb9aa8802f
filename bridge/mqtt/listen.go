package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// tcpKeepAlive finds clients that vanished without keep alive. Often enough
// for NATs that forget after some minutes, rare enough for metered links.
const tcpKeepAlive = 2 * time.Minute

// checkListener refuses what would let strangers in without anybody having
// decided so.
func checkListener(l Listener, users bool) error {
	host, _, err := net.SplitHostPort(l.Address)
	if err != nil {
		return fmt.Errorf("mqtt: listener %q: %w; write host:port, for example 127.0.0.1:1883", l.Address, err)
	}
	if l.Anonymous || users || isLoopback(host) {
		return nil
	}
	return fmt.Errorf("mqtt: listener %q is open to the network, but there are no users: anybody who reaches it could publish. "+
		"Add users to a password file (cistern user add), or set anonymous = true on this listener if that is what you want, "+
		"or listen on 127.0.0.1 only", l.Address)
}

// isLoopback reports whether every address that host may mean is loopback.
// Only localhost is known by name: what another name means may change.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// Listen takes the addresses, or none of them.
func (s *Server) Listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.listeners) > 0 {
		return nil
	}
	config := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: tcpKeepAlive, Interval: 30 * time.Second, Count: 4}}
	for _, l := range s.config.Listeners {
		ln, err := config.Listen(context.Background(), "tcp", l.Address)
		if err != nil {
			for _, taken := range s.listeners {
				taken.Close()
			}
			s.listeners = nil
			return fmt.Errorf("mqtt: listener %q: %w", l.Address, err)
		}
		s.listeners = append(s.listeners, &listener{ln, s.letsAnonymousIn(l, ln.Addr())})
	}
	return nil
}

// letsAnonymousIn is decided by the address that was bound, not by its name.
func (s *Server) letsAnonymousIn(l Listener, bound net.Addr) bool {
	return l.Anonymous || s.config.Auth == nil && addressOf(bound).IsLoopback()
}

// Addrs returns the addresses that Listen took, in the order of the listeners.
func (s *Server) Addrs() []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	var addrs []net.Addr
	for _, l := range s.listeners {
		addrs = append(addrs, l.Addr())
	}
	return addrs
}

// Pauses after an error of Accept.
const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// accept takes connections until the listener is closed. Nothing else ends it:
// when descriptors run out, the clients that leave make room again.
func (s *Server) accept(l *listener) {
	pause := acceptPauseMin
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = acceptPauseMin
			s.welcome(nc, l.anonymous)
		case errors.Is(err, net.ErrClosed) && s.stopping.Load():
			return
		default:
			s.count.acceptErrors.Inc()
			s.calm.warn("mqtt: can't accept connections, trying again", "address", l.Addr().String(), "pause", pause, "error", err)
			if !s.sleep(pause) {
				return
			}
			pause = min(2*pause, acceptPauseMax)
		}
	}
}

// sleep waits, and reports false when the server ended meanwhile.
func (s *Server) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.life.Done():
		return false
	}
}

// welcome starts serving a connection, or closes it.
func (s *Server) welcome(nc net.Conn, anonymous bool) {
	if !s.rate.allow(addressOf(nc.RemoteAddr()), time.Now()) {
		s.count.connectsLimited.Inc()
		s.calm.warn("mqtt: an address connects too often", "remote", nc.RemoteAddr().String(), "limit_per_second", s.limits.ConnectRate)
		nc.Close()
		return
	}
	if !s.admit(newConn(s, nc, anonymous)) {
		s.count.connectsLimited.Inc()
		s.calm.warn("mqtt: too many connections", "limit", s.limits.Connections)
		nc.Close()
	}
}

// addressOf returns the IP address of a, the zero Addr when it has none.
func addressOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
