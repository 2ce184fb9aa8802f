package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Conn is one connection to one broker: a pipeline of requests that are
// answered in order. All methods may be called from any goroutine.
type Conn struct {
	nc        net.Conn
	node      int32
	addr      string
	timeout   time.Duration
	formatter *kmsg.RequestFormatter
	versions  versions
	closed    chan struct{} // closed when the reader has ended

	// writing is held from encoding to the end of the write, so that requests
	// leave in the order in which they became pending.
	writing     sync.Mutex
	buf         []byte
	correlation int32

	mu      sync.Mutex
	pending []pending // oldest first
	err     error     // why the connection ended, nil while it works

	answered  atomic.Int64 // unix ns of the last answer
	throttled atomic.Int64 // unix ns until which the broker wants silence
}

// pending is a request that waits for its answer.
type pending struct {
	resp        kmsg.Response
	correlation int32
	deadline    time.Time
	sizeMax     int
	done        func(kmsg.Response, error)
}

// writeBufferKept is the largest buffer that a connection keeps between
// requests. It fits one full produce request.
const writeBufferKept = 1<<20 + 64<<10

func newConn(nc net.Conn, node int32, addr string, cfg *Config) *Conn {
	c := &Conn{
		nc:        nc,
		node:      node,
		addr:      addr,
		timeout:   cfg.RequestTimeout,
		formatter: kmsg.NewRequestFormatter(kmsg.FormatterClientID(cfg.ClientID)),
		closed:    make(chan struct{}),
	}
	go c.read()
	return c
}

// Node returns the broker's id, -1 when it was reached by a bootstrap address.
func (c *Conn) Node() int32 { return c.node }

// Addr returns the address that was dialed.
func (c *Conn) Addr() string { return c.addr }

// Answered returns when the broker last answered.
func (c *Conn) Answered() time.Time { return time.Unix(0, c.answered.Load()) }

// Throttled returns how long the broker wants no further request: it has
// answered already and would leave the next one unread.
func (c *Conn) Throttled() time.Duration {
	return max(0, time.Duration(c.throttled.Load()-time.Now().UnixNano()))
}

// Done returns a channel that is closed when the connection has ended and
// every pending request was told.
func (c *Conn) Done() <-chan struct{} { return c.closed }

// Err returns why the connection ended, nil while it works.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection. Pending requests fail with ErrClosed.
func (c *Conn) Close() { c.fail(ErrClosed) }

// fail records the first reason and wakes the reader, which tells the others.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = fmt.Errorf("broker %s: %w", c.name(), err)
	}
	c.mu.Unlock()
	c.nc.Close()
}

func (c *Conn) name() string {
	if c.node < 0 {
		return c.addr
	}
	return fmt.Sprintf("%d (%s)", c.node, c.addr)
}

// Start sends req and returns when it is written. done is called once, from
// the connection's reader, in the order in which requests were started, with
// the answer or with what ended the connection; it must not block. When Start
// returns an error, done is never called.
//
// The caller's request and what it points to may be reused when Start returns.
func (c *Conn) Start(req kmsg.Request, done func(kmsg.Response, error)) error {
	return c.start(req, 0, done)
}

// start is Start with more time, for the write and then for the answer.
func (c *Conn) start(req kmsg.Request, extra time.Duration, done func(kmsg.Response, error)) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	version, err := c.versions.of(req)
	if err != nil {
		return fmt.Errorf("broker %s: %w", c.name(), err)
	}
	req.SetVersion(version)
	c.correlation++
	c.buf = c.formatter.AppendRequest(c.buf[:0], req, c.correlation)
	if err := c.push(req, extra, done); err != nil {
		return err
	}
	err = c.write(c.buf, c.timeout+extra)
	if cap(c.buf) > writeBufferKept {
		c.buf = nil
	}
	if err != nil {
		// What is pending, this request included, is told by the reader.
		c.fail(fmt.Errorf("sending %s: %w", kmsg.Key(req.Key()).Name(), err))
	}
	return nil
}

func (c *Conn) write(b []byte, within time.Duration) error {
	if err := c.nc.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	_, err := c.nc.Write(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrTimeout
	}
	return err
}

// push makes req pending before it is written: its answer may arrive before
// Write returns.
func (c *Conn) push(req kmsg.Request, extra time.Duration, done func(kmsg.Response, error)) error {
	sizeMax := ResponseBytesMax
	if kmsg.Key(req.Key()) == kmsg.Fetch {
		sizeMax = FetchResponseBytesMax
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	p := pending{
		resp:        resp,
		correlation: c.correlation,
		deadline:    time.Now().Add(c.timeout + extra),
		sizeMax:     sizeMax,
		done:        done,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.pending = append(c.pending, p)
	if len(c.pending) == 1 {
		c.nc.SetReadDeadline(p.deadline) // on a dead connection the reader knows already
	}
	return nil
}

// Do sends req and waits for its answer. After an answer that asks for silence
// it waits before it sends. When ctx ends first the answer is dropped on
// arrival, and the connection stays usable unless it was stuck in a write.
func (c *Conn) Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	if err := sleep(ctx, c.Throttled()); err != nil {
		return nil, err
	}
	type answer struct {
		resp kmsg.Response
		err  error
	}
	answered := make(chan answer, 1)
	stop := context.AfterFunc(ctx, func() { c.nc.SetWriteDeadline(time.Unix(1, 0)) })
	err := c.Start(req, func(resp kmsg.Response, err error) { answered <- answer{resp, err} })
	stop()
	if err != nil {
		return nil, err
	}
	select {
	case a := <-answered:
		return a.resp, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// do is Do with the type of the answer.
func do[R kmsg.Response](ctx context.Context, c *Conn, req kmsg.Request) (R, error) {
	var zero R
	resp, err := c.Do(ctx, req)
	if err != nil {
		return zero, err
	}
	r, ok := resp.(R)
	if !ok {
		return zero, fmt.Errorf("broker %s: %w: answer of type %T", c.name(), ErrProtocol, resp)
	}
	return r, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
