package sinktest

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ErrCrashed is what a crashed gateway's steps meet.
var ErrCrashed = errors.New("crashed")

// Crash ends a gateway at its n-th step: a request about to leave or just gone,
// an answer that has arrived, a write of state about to happen or done. From then
// on nothing of that gateway has any effect.
type Crash struct {
	Dead chan struct{} // closed then

	at    int
	mu    sync.Mutex
	steps int
	where string
	conns []net.Conn
}

// NewCrash returns a crash at the given step, counted from 1.
func NewCrash(at int) *Crash { return &Crash{at: at, Dead: make(chan struct{})} }

// Step is one.
func (c *Crash) Step(where string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps++
	if c.steps == c.at {
		c.where = where
		close(c.Dead)
		for _, nc := range c.conns {
			nc.Close()
		}
	}
	if c.steps >= c.at {
		return ErrCrashed
	}
	return nil
}

// Where says what the gateway was doing.
func (c *Crash) Where() string { c.mu.Lock(); defer c.mu.Unlock(); return c.where }

// Dial dials for a gateway that will crash.
func (c *Crash) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.steps >= c.at {
		nc.Close()
		return nil, ErrCrashed
	}
	c.conns = append(c.conns, nc)
	return &crashConn{nc, c}, nil
}

type crashConn struct {
	net.Conn
	c *Crash
}

func (n *crashConn) Write(b []byte) (int, error) {
	if err := n.c.Step("before a request"); err != nil {
		return 0, err
	}
	k, err := n.Conn.Write(b)
	if err != nil {
		return k, err
	}
	return k, n.c.Step("after a request")
}

func (n *crashConn) Read(b []byte) (int, error) {
	k, err := n.Conn.Read(b)
	if err != nil {
		return k, err
	}
	if err := n.c.Step("an answer arrived"); err != nil {
		return 0, err
	}
	return k, nil
}

// Line is a network that can be cut, with a delay in each direction.
type Line struct {
	Delay time.Duration

	mu    sync.Mutex
	conns []*lineConn
}

// Dial dials over the line.
func (n *Line) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	c := &lineConn{Conn: nc}
	n.conns = append(n.conns, c)
	if n.Delay == 0 {
		return c, nil
	}
	return newSlow(c, n.Delay), nil
}

// Deafen loses all answers from now on, until the line is cut.
func (n *Line) Deafen() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		c.deaf.Store(true)
	}
}

type lineConn struct {
	net.Conn
	deaf atomic.Bool
}

func (c *lineConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.deaf.Load() {
			return n, err
		}
	}
}

// Cut ends all connections. It reports whether there was one.
func (n *Line) Cut() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := len(n.conns) > 0
	for _, nc := range n.conns {
		nc.Conn.(*net.TCPConn).SetLinger(0)
		nc.Close()
	}
	n.conns = nil
	return found
}

// slow delays what is written and what is read, without limiting how much is on
// its way.
type slow struct {
	net.Conn
	out, in chan parcel
	done    chan struct{}
	once    sync.Once
	rest    []byte
	delay   time.Duration
}

type parcel struct {
	b   []byte
	at  time.Time
	err error
}

const slowParcels = 4096

func newSlow(nc net.Conn, delay time.Duration) *slow {
	s := &slow{Conn: nc, delay: delay, done: make(chan struct{}), out: make(chan parcel, slowParcels), in: make(chan parcel, slowParcels)}
	go s.send()
	go s.receive()
	return s
}

func (s *slow) Close() error {
	s.once.Do(func() { close(s.done) })
	return s.Conn.Close()
}

func (s *slow) Write(b []byte) (int, error) {
	select {
	case s.out <- parcel{b: append([]byte(nil), b...), at: time.Now().Add(s.delay)}:
		return len(b), nil
	case <-s.done:
		return 0, net.ErrClosed
	}
}

func (s *slow) send() {
	for {
		select {
		case p := <-s.out:
			time.Sleep(time.Until(p.at))
			if _, err := s.Conn.Write(p.b); err != nil {
				return
			}
		case <-s.done:
			return
		}
	}
}

func (s *slow) receive() {
	for {
		b := make([]byte, 32<<10)
		n, err := s.Conn.Read(b)
		select {
		case s.in <- parcel{b[:n], time.Now().Add(s.delay), err}:
		case <-s.done:
			return
		}
		if err != nil {
			return
		}
	}
}

func (s *slow) Read(b []byte) (int, error) {
	for len(s.rest) == 0 {
		select {
		case p := <-s.in:
			time.Sleep(time.Until(p.at))
			if p.err != nil && len(p.b) == 0 {
				return 0, p.err
			}
			s.rest = p.b
		case <-s.done:
			return 0, net.ErrClosed
		}
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
