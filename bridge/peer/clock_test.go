package peer

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"cistern/bridge/kafka"
	"cistern/gossip/metadata"
	"cistern/segstore/replica"
)

// pipes is a listener in memory: these tests run on a clock of their own.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case nc := <-p.conns:
		return nc, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	p.conns <- far
	return near, nil
}

// inMemory serves s behind the dial function it returns.
func inMemory(t *testing.T, s *Server) *pipes {
	ln := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	s.Logger = quiet
	background(t, func(ctx context.Context) error { return s.Serve(ctx, ln) })
	return ln
}

// TestBackOff: a gateway that is away is dialed ever less often, up to a limit,
// while callers ask all the time; each is answered.
func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials []time.Time
		resets := 0
		p := started(t, Config{
			Dial: func(context.Context, string, string) (net.Conn, error) {
				dials = append(dials, time.Now())
				return nil, syscall.ECONNREFUSED
			},
			OnReset: func(metadata.Member, error) { resets++ },
		})
		o := newTold(t)
		for start := time.Now(); time.Since(start) < time.Minute; {
			p.Produce(metadata.Member{ID: 1}, []*replica.Append{o.batch("s", 0, metadata.AcksAll, 1)})
			if a := <-o.all; !errors.Is(a.Err, syscall.ECONNREFUSED) {
				t.Fatalf("error %v", a.Err)
			}
		}
		if n := len(dials); n < 55 || n > 70 || resets != n {
			t.Errorf("%d dials in a minute, %d resets told", n, resets)
		}
		if d := dials[1].Sub(dials[0]); d != dialWaitMin {
			t.Errorf("the second dial came after %v", d)
		}
	})
}

// TestIdle: the connection for Produce is given up after a while without use,
// which is no reset, and comes back when there is something to send.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := inMemory(t, &Server{Service: &service{produce: confirm}})
		var conns []net.Conn
		p := started(t, Config{
			Dial: func(ctx context.Context, addr, protocol string) (net.Conn, error) {
				nc, err := ln.dial(ctx, addr, protocol)
				conns = append(conns, nc)
				return nc, err
			},
			OnReset: func(_ metadata.Member, err error) { t.Errorf("reset: %v", err) },
		})
		o := newTold(t)
		for i := range 3 {
			p.Produce(metadata.Member{ID: 1}, []*replica.Append{o.batch("s", 0, metadata.AcksAll, i)})
			if a := <-o.all; a.Err != nil {
				t.Fatal(a.Err)
			}
			time.Sleep([]time.Duration{idleAfter / 2, 2 * idleAfter, 0}[i])
		}
		if len(conns) != 2 {
			t.Errorf("%d connections, want one for the first two batches and one for the third", len(conns))
		}
	})
}

// TestSilentLeader: no answer is a time-out, for a Fetch and for batches alike,
// and no reset.
func TestSilentLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := inMemory(t, &Server{produceWait: time.Hour, Service: &service{
			produce: func([]*replica.Append) {},
			fetch:   func(ctx context.Context, _ *replica.FetchRequest) *replica.FetchAnswer { <-ctx.Done(); return nil },
		}})
		p := started(t, Config{Dial: ln.dial, OnReset: func(_ metadata.Member, err error) { t.Errorf("reset: %v", err) }})
		start := time.Now()
		_, err := p.Fetch(context.Background(), metadata.Member{ID: 1}, &replica.FetchRequest{MaxWait: time.Second})
		if !errors.Is(err, kafka.ErrTimeout) || !errors.Is(err, replica.ErrUnreachable) {
			t.Errorf("fetch: %v", err)
		}
		o := newTold(t)
		p.Produce(metadata.Member{ID: 1}, []*replica.Append{o.batch("s", 0, metadata.AcksAll, 1)})
		if a := <-o.all; !errors.Is(a.Err, kafka.ErrTimeout) || !errors.Is(a.Err, replica.ErrUnreachable) {
			t.Errorf("produce: %v", a.Err)
		}
		if d := time.Since(start); d < ProduceWait || d > 2*time.Minute {
			t.Errorf("both took %v", d)
		}
	})
}
