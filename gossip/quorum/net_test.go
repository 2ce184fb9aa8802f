package quorum

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// network is a site's network on loopback: addresses are names of the test's,
// gateways can be cut off, and move to other addresses.
type network struct {
	mu    sync.Mutex
	ports map[string]*fakePort // by address
	cut   map[string]bool      // by gateway
}

func newNetwork() *network { return &network{ports: map[string]*fakePort{}, cut: map[string]bool{}} }

// isolate cuts a gateway off: its connections break and no new ones are made.
func (n *network) isolate(name string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[name] = cut
	for _, p := range n.ports {
		if cut {
			p.drop(name)
		}
	}
}

// fakePort is a Port without TLS: a connection begins with protocol and name.
type fakePort struct {
	net        *network
	name, addr string
	ln         net.Listener

	mu        sync.Mutex
	listeners map[string]*fakeListener
	conns     map[*fakeConn]struct{}
	closed    bool
	wg        sync.WaitGroup
}

type fakeConn struct {
	*net.TCPConn
	r    *bufio.Reader
	peer string
	port *fakePort
}

func (c *fakeConn) Read(b []byte) (int, error) { return c.r.Read(b) }

func (c *fakeConn) Close() error {
	c.port.mu.Lock()
	delete(c.port.conns, c)
	c.port.mu.Unlock()
	return c.TCPConn.Close()
}

func fakePeerName(c net.Conn) string {
	return c.(*fakeConn).peer
}

func (n *network) listen(t testing.TB, name, addr string) *fakePort {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &fakePort{net: n, name: name, addr: addr, ln: ln, listeners: map[string]*fakeListener{}, conns: map[*fakeConn]struct{}{}}
	n.mu.Lock()
	n.ports[addr] = p
	n.mu.Unlock()
	p.wg.Go(p.run)
	return p
}

func (p *fakePort) run() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.greet(c.(*net.TCPConn)) })
	}
}

func (p *fakePort) greet(raw *net.TCPConn) {
	c := &fakeConn{TCPConn: raw, r: bufio.NewReader(raw), port: p}
	raw.SetDeadline(time.Now().Add(5 * time.Second))
	line, err := c.r.ReadString('\n')
	protocol, name, _ := strings.Cut(strings.TrimSpace(line), " ")
	c.peer = name
	if err == nil {
		_, err = fmt.Fprintln(raw, p.name)
	}
	raw.SetDeadline(time.Time{})
	p.mu.Lock()
	l := p.listeners[protocol]
	p.mu.Unlock()
	if err != nil || l == nil || !p.keep(c) {
		raw.Close()
		return
	}
	select {
	case l.accepted <- c:
	case <-l.done:
		c.Close()
	}
}

// keep remembers a connection, unless it must not be.
func (p *fakePort) keep(c *fakeConn) bool {
	p.net.mu.Lock() // isolate comes before, or sees it
	defer p.net.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.net.cut[p.name] || p.net.cut[c.peer] {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *fakePort) drop(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if p.name == name || c.peer == name {
			c.TCPConn.Close()
		}
	}
}

// kill is what the others see of a process that is gone.
func (p *fakePort) kill() {
	p.net.mu.Lock()
	if p.net.ports[p.addr] == p {
		delete(p.net.ports, p.addr)
	}
	p.net.mu.Unlock()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.ln.Close()
	p.drop(p.name)
	p.wg.Wait()
}

func (p *fakePort) Dial(ctx context.Context, addr, protocol string) (net.Conn, error) {
	p.net.mu.Lock()
	to := p.net.ports[addr]
	p.net.mu.Unlock()
	if to == nil {
		return nil, errors.New("connection refused")
	}
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", to.ln.Addr().String())
	if err != nil {
		return nil, err
	}
	c := &fakeConn{TCPConn: raw.(*net.TCPConn), r: bufio.NewReader(raw), port: p}
	deadline, _ := ctx.Deadline()
	raw.SetDeadline(deadline)
	fmt.Fprintln(raw, protocol, p.name)
	line, err := c.r.ReadString('\n')
	raw.SetDeadline(time.Time{})
	c.peer = strings.TrimSpace(line)
	if err != nil || !p.keep(c) {
		raw.Close()
		return nil, fmt.Errorf("cut off: %w", net.ErrClosed)
	}
	return c, nil
}

func (p *fakePort) Listener(protocol string) net.Listener {
	l := &fakeListener{port: p, protocol: protocol, accepted: make(chan net.Conn), done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners[protocol] = l
	return l
}

type fakeListener struct {
	port     *fakePort
	protocol string
	accepted chan net.Conn
	once     sync.Once
	done     chan struct{}
}

func (l *fakeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *fakeListener) Addr() net.Addr { return siteAddr(l.port.addr) }

func (l *fakeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}
