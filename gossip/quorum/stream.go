package quorum

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// stream is raft.StreamLayer on the site port. Raft addresses peers as
// "name@host:port", so that a connection can be checked to end where it should:
// an address may have passed to another gateway, which would answer and be
// counted twice in a majority. It also keeps addresses apart while gateways swap
// them, which raft would refuse.
type stream struct {
	net.Listener
	port     Port
	peerName func(net.Conn) string
	address  string
	ctx      context.Context // ends with Close, so that no dialling outlasts it
	cancel   func()

	mu    sync.Mutex
	conns map[net.Conn]struct{} // both ways; nil after Close
}

func newStream(c *Config) *stream {
	s := &stream{Listener: c.Port.Listener(ProtocolRaft), port: c.Port, peerName: c.PeerName, address: joinPeer(c.Name, c.Address),
		conns: map[net.Conn]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Dial implements raft.StreamLayer.
func (s *stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, min(timeout, dialTimeout))
	defer cancel()
	name, addr := splitPeer(string(to))
	c, err := dialPeer(ctx, s.port, s.peerName, name, addr, ProtocolRaft)
	if err != nil {
		return nil, err
	}
	return s.track(c)
}

// dialPeer connects to a gateway and makes sure that it is the one.
func dialPeer(ctx context.Context, p Port, peerName func(net.Conn) string, name, addr, protocol string) (net.Conn, error) {
	c, err := p.Dial(ctx, addr, protocol)
	if err != nil {
		return nil, fmt.Errorf("gateway %s at %s: %w", name, addr, err)
	}
	if name != "" {
		if is := peerName(c); is != name {
			c.Close()
			return nil, fmt.Errorf("gateway %s at %s: %q answers there", name, addr, is)
		}
	}
	return c, nil
}

func joinPeer(name, addr string) string { return name + "@" + addr }

func splitPeer(peer string) (name, addr string) {
	if i := strings.LastIndexByte(peer, '@'); i >= 0 {
		return peer[:i], peer[i+1:]
	}
	return "", peer
}

// Accept implements net.Listener.
func (s *stream) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return s.track(c)
}

// Addr implements net.Listener: the address that others use.
func (s *stream) Addr() net.Addr { return siteAddr(s.address) }

// Close implements net.Listener. Raft's transport leaves connections open, and
// a goroutine at each.
func (s *stream) Close() error {
	s.cancel()
	err := s.Listener.Close()
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for c := range conns {
		c.Close()
	}
	return err
}

func (s *stream) track(c net.Conn) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		c.Close()
		return nil, net.ErrClosed
	}
	t := &trackedConn{Conn: c, stream: s}
	s.conns[t] = struct{}{}
	return t, nil
}

type trackedConn struct {
	net.Conn
	stream *stream
}

func (c *trackedConn) Close() error {
	c.stream.mu.Lock()
	delete(c.stream.conns, c)
	c.stream.mu.Unlock()
	return abruptly(c.Conn)
}

// abruptly closes a connection without TLS's farewell: a peer that takes nothing would
// hold that up for 5 s, one connection after the other.
func abruptly(c net.Conn) error {
	if below, ok := c.(interface{ NetConn() net.Conn }); ok {
		return below.NetConn().Close()
	}
	return c.Close()
}

// siteAddr is a net.Addr that was given as text.
type siteAddr string

func (siteAddr) Network() string  { return "tcp" }
func (a siteAddr) String() string { return string(a) }

// addressBook is raft.ServerAddressProvider: where the gateways are now, which
// gossip knows before raft does.
type addressBook struct {
	self    string
	servers func() []Server // what raft believes; for those that gossip has not shown

	mu sync.Mutex
	at map[string]string
}

// ServerAddr implements raft.ServerAddressProvider.
func (b *addressBook) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	addr, ok := b.lookup(string(id))
	if !ok {
		return "", fmt.Errorf("the address of gateway %s is not known", id)
	}
	return raft.ServerAddress(joinPeer(string(id), addr)), nil
}

func (b *addressBook) lookup(name string) (string, bool) {
	b.mu.Lock()
	addr, ok := b.at[name]
	b.mu.Unlock()
	if ok {
		return addr, true
	}
	for _, s := range b.servers() {
		if s.Name == name {
			return s.Address, true
		}
	}
	return "", false
}

func (b *addressBook) learn(name, addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if name != b.self && addr != "" {
		b.at[name] = addr
	}
}
