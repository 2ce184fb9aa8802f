package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Client knows one cluster. Its methods may be called from any goroutine and
// never retry: a failure is the caller's to weigh.
type Client struct {
	cfg Config

	mu         sync.Mutex
	brokers    map[int32]string // node id to address, from the last metadata
	control    map[string]*slot // address to its control connection
	controller int32
	closed     bool
}

// slot holds the control connection to one address. token is taken while
// somebody dials, so that a dead broker is not dialed by everybody at once.
type slot struct {
	token chan struct{}
	conn  *Conn // guarded by token
}

// New returns a client. Nothing is dialed before the first request.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Client{
		cfg:     cfg.withDefaults(),
		brokers: map[int32]string{},
		control: map[string]*slot{},
	}, nil
}

// Close ends the control connections. Connections from Connect are their
// owner's to close.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	slots := c.control
	c.control = map[string]*slot{}
	c.mu.Unlock()
	for _, s := range slots {
		s.token <- struct{}{}
		if s.conn != nil {
			s.conn.Close()
		}
		<-s.token
	}
}

// Connect opens a further connection to a broker, for requests that must not
// queue behind others. The caller closes it.
func (c *Client) Connect(ctx context.Context, node int32) (*Conn, error) {
	addr, err := c.address(node)
	if err != nil {
		return nil, err
	}
	return c.dial(ctx, node, addr)
}

func (c *Client) address(node int32) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	addr, ok := c.brokers[node]
	if !ok {
		return "", fmt.Errorf("%w: %d", ErrUnknownBroker, node)
	}
	return addr, nil
}

// dial opens, secures, negotiates and authenticates, all within DialTimeout.
func (c *Client) dial(ctx context.Context, node int32, addr string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout)
	defer cancel()
	nc, err := c.cfg.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("broker %s: %w", addr, err)
	}
	if nc, err = c.secure(ctx, nc, addr); err != nil {
		return nil, fmt.Errorf("broker %s: %w", addr, err)
	}
	conn := newConn(nc, node, addr, &c.cfg)
	if err := c.introduce(ctx, conn); err != nil {
		conn.Close()
		<-conn.Done()
		return nil, err
	}
	return conn, nil
}

func (c *Client) secure(ctx context.Context, nc net.Conn, addr string) (net.Conn, error) {
	if c.cfg.TLS == nil {
		return nc, nil
	}
	cfg := c.cfg.TLS.Clone()
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, errors.Join(err, nc.Close())
		}
		cfg.ServerName = host
	}
	tc := tls.Client(nc, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: TLS: %w", ErrAuth, err)
	}
	return tc, nil
}

func (c *Client) introduce(ctx context.Context, conn *Conn) error {
	v, err := negotiate(ctx, conn)
	if err != nil {
		return fmt.Errorf("broker %s: %w", conn.name(), err)
	}
	conn.versions = v
	if c.cfg.SASL == nil {
		return nil
	}
	if err := c.cfg.SASL.authenticate(ctx, conn); err != nil {
		return fmt.Errorf("broker %s: %w", conn.name(), err)
	}
	return nil
}

// controlConn returns the control connection to addr, dialing when needed.
func (c *Client) controlConn(ctx context.Context, node int32, addr string) (*Conn, error) {
	s, err := c.slot(addr)
	if err != nil {
		return nil, err
	}
	select {
	case s.token <- struct{}{}:
		defer func() { <-s.token }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.conn != nil && s.conn.Err() == nil {
		return s.conn, nil
	}
	if s.conn, err = c.dial(ctx, node, addr); err != nil {
		return nil, err
	}
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed { // Close has missed it
		s.conn.Close()
		return nil, ErrClosed
	}
	return s.conn, nil
}

func (c *Client) slot(addr string) (*slot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	s, ok := c.control[addr]
	if !ok {
		s = &slot{token: make(chan struct{}, 1)}
		c.control[addr] = s
	}
	return s, nil
}

// ask sends req to one broker over its control connection.
func ask[R kmsg.Response](ctx context.Context, c *Client, node int32, req kmsg.Request) (R, error) {
	var zero R
	addr, err := c.address(node)
	if err != nil {
		return zero, err
	}
	conn, err := c.controlConn(ctx, node, addr)
	if err != nil {
		return zero, err
	}
	return do[R](ctx, conn, req)
}

// askAny sends req to whichever broker answers first in a random order: those
// the cluster has named, then the bootstrap addresses.
func askAny[R kmsg.Response](ctx context.Context, c *Client, req kmsg.Request) (R, error) {
	var zero R
	var failures []error
	for _, a := range c.addresses() {
		conn, err := c.controlConn(ctx, a.node, a.addr)
		if err == nil {
			var resp R
			if resp, err = do[R](ctx, conn, req); err == nil {
				return resp, nil
			}
		}
		if ctx.Err() != nil {
			return zero, ctx.Err()
		}
		failures = append(failures, err)
	}
	return zero, fmt.Errorf("%w: %w", ErrNoBroker, errors.Join(failures...))
}

type nodeAddress struct {
	node int32
	addr string
}

// namedTried bounds how many brokers of a large cluster are tried before the
// bootstrap addresses.
const namedTried = 3

func (c *Client) addresses() []nodeAddress {
	c.mu.Lock()
	defer c.mu.Unlock()
	var named, all []nodeAddress
	for node, addr := range c.brokers {
		named = append(named, nodeAddress{node, addr})
	}
	rand.Shuffle(len(named), func(i, j int) { named[i], named[j] = named[j], named[i] })
	all = append(all, named[:min(len(named), namedTried)]...)
	for _, i := range rand.Perm(len(c.cfg.Brokers)) {
		all = append(all, nodeAddress{-1, c.cfg.Brokers[i]})
	}
	return all
}
