package quorum

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"cistern/gossip/metadata"
)

// client asks other gateways over one connection each, many requests at once.
type client struct {
	c      *Config
	book   *addressBook
	ctx    context.Context // ends with close, so that no dialling outlasts it
	cancel func()

	mu     sync.Mutex
	peers  map[string]*peerConn // by name; at most one per gateway of the site
	closed bool
	wg     sync.WaitGroup
}

// peerConn is a connection that is being made, or was.
type peerConn struct {
	name, addr string
	ready      chan struct{} // closed when conn or err is set
	conn       net.Conn
	err        error // why there is no connection

	write sync.Mutex

	mu      sync.Mutex
	gone    bool // no answer will come any more
	next    uint64
	pending map[uint64]chan answer // buffered; closed when no answer will come
	used    time.Time
}

// errNoConnection says that a request was certainly not sent.
var errNoConnection = errors.New("no connection")

func newClient(c *Config, book *addressBook) *client {
	ctx, cancel := context.WithCancel(context.Background())
	return &client{c: c, book: book, ctx: ctx, cancel: cancel, peers: map[string]*peerConn{}}
}

// propose forwards a change to the raft leader.
func (c *client) propose(ctx context.Context, leader string, change []byte) (metadata.Result, error) {
	a, err := c.ask(ctx, leader, request{Kind: kindPropose, Change: change})
	switch {
	case errors.Is(err, errNoConnection):
		return metadata.Result{}, fmt.Errorf("%w: %w", errNotLeader, err)
	case err != nil:
		return metadata.Result{}, fmt.Errorf("%w: raft leader %s: %w", ErrUnknownFate, leader, err)
	case a.Status == statusOK && a.Result != nil:
		return *a.Result, nil
	case a.Status == statusNotLeader || a.Status == statusUnknownKind:
		return metadata.Result{}, fmt.Errorf("%w: %s: %s", errNotLeader, leader, a.Detail)
	}
	return metadata.Result{}, fmt.Errorf("%w: raft leader %s: %s", ErrUnknownFate, leader, a.Detail)
}

// ask sends a request and waits for the answer.
func (c *client) ask(ctx context.Context, name string, r request) (answer, error) {
	p, err := c.connect(ctx, name)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errNoConnection, err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		r.WaitMS = max(1, time.Until(deadline).Milliseconds())
	}
	got, id, err := p.send(r)
	if err != nil {
		return answer{}, err
	}
	select {
	case a, ok := <-got:
		if !ok {
			return answer{}, errors.New("the connection broke")
		}
		return a, nil
	case <-ctx.Done():
		p.forget(id)
		return answer{}, ctx.Err()
	}
}

// connect returns the connection to a gateway, and makes one if need be. All
// who want it at a time wait for the same attempt.
func (c *client) connect(ctx context.Context, name string) (*peerConn, error) {
	addr, ok := c.book.lookup(name)
	if !ok {
		return nil, fmt.Errorf("the address of gateway %s is not known", name)
	}
	c.mu.Lock()
	p := c.peers[name]
	if c.closed {
		c.mu.Unlock()
		return nil, ErrStopped
	}
	if p == nil || p.stale(addr) {
		p = &peerConn{name: name, addr: addr, ready: make(chan struct{}), pending: map[uint64]chan answer{}, used: time.Now()}
		c.peers[name] = p
		c.wg.Go(func() { c.run(p) })
	}
	c.mu.Unlock()
	select {
	case <-p.ready:
		return p, p.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run makes the connection and reads answers until it ends.
func (c *client) run(p *peerConn) {
	ctx, cancel := context.WithTimeout(c.ctx, dialTimeout)
	conn, err := dialPeer(ctx, c.c.Port, c.c.PeerName, p.name, p.addr, ProtocolQuorum)
	cancel()
	c.mu.Lock()
	if err == nil && c.closed {
		conn.Close()
		err = ErrStopped
	}
	p.conn, p.err = conn, err
	close(p.ready)
	c.mu.Unlock()
	if err == nil {
		p.read()
	}
	c.mu.Lock()
	if c.peers[p.name] == p {
		delete(c.peers, p.name)
	}
	c.mu.Unlock()
}

func (c *client) close() {
	c.cancel()
	c.mu.Lock()
	c.closed = true
	for _, p := range c.peers {
		if p.isReady() && p.conn != nil {
			p.conn.Close()
		}
	}
	c.mu.Unlock()
	c.wg.Wait()
}

func (p *peerConn) isReady() bool {
	select {
	case <-p.ready:
		return true
	default:
		return false
	}
}

// stale reports that another connection is needed, and then ends this one if
// nobody waits for anything from it.
func (p *peerConn) stale(addr string) bool {
	if !p.isReady() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	stale := p.err != nil || p.gone || p.addr != addr || len(p.pending) == 0 && time.Since(p.used) > connIdle
	if stale && p.conn != nil {
		p.conn.Close()
	}
	return stale
}

// send writes a request. When it fails the request may have been sent.
func (p *peerConn) send(r request) (<-chan answer, uint64, error) {
	p.mu.Lock()
	if p.gone {
		p.mu.Unlock()
		return nil, 0, fmt.Errorf("%w: it broke", errNoConnection)
	}
	p.next++
	r.ID, p.used = p.next, time.Now()
	got := make(chan answer, 1)
	p.pending[r.ID] = got
	p.mu.Unlock()

	p.write.Lock()
	defer p.write.Unlock()
	p.conn.SetWriteDeadline(time.Now().Add(requestTimeout))
	if err := writeFrame(p.conn, &r); err != nil {
		p.conn.Close() // a part of a frame may have gone out
		p.forget(r.ID)
		return nil, 0, err
	}
	return got, r.ID, nil
}

func (p *peerConn) forget(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pending, id)
}

// read hands out answers until the connection ends.
func (p *peerConn) read() {
	in := bufio.NewReader(p.conn)
	for {
		var a answer
		if readFrame(in, &a) != nil {
			break
		}
		p.mu.Lock()
		if got := p.pending[a.ID]; got != nil {
			got <- a
			delete(p.pending, a.ID)
		}
		p.mu.Unlock()
	}
	p.conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	for id, got := range p.pending {
		close(got)
		delete(p.pending, id)
	}
}
