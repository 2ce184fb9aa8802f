package kafka

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// apiVersions are the versions of ApiVersions that every server answers.
var apiVersions = Span{0, 3}

const (
	codeUnsupportedVersion = 35

	// headLen is the fixed part of a request: size, key, version, correlation id.
	headLen = 4 + 2 + 2 + 4
	// clientIDMax bounds what is kept and logged of a name that a client chose.
	clientIDMax = 255
	// apiVersionsBytesMax bounds the one request that every server knows.
	apiVersionsBytesMax = 1 << 10
)

// ServerConn is one client's connection. A reader takes its requests, a writer
// sends what was answered:
//
//	client ──▶ reader ──▶ check, decode ──▶ handler ──▶ respond, in any order
//	             └──▶ answers: FIFO of {correlation id, version, answer} ◀──┘
//	client ◀──────────── writer: as many as are due, in one write
type ServerConn struct {
	server *Server
	number uint64 // in the order of accepting, from 1
	nc     net.Conn
	in     *bufio.Reader
	log    *slog.Logger
	ctx    context.Context
	end    context.CancelFunc
	work   sync.WaitGroup // the writer, and what handlers have started
	client string         // as the last request named it; the reader's own

	answers answers
}

// NetConn returns the connection below, for what it knows of the other side.
// It must not be read, written or given deadlines.
func (c *ServerConn) NetConn() net.Conn { return c.nc }

// Number tells which of two connections of one server was accepted first: that with
// the lower one.
func (c *ServerConn) Number() uint64 { return c.number }

// End closes the connection. What it was asked is not answered any more.
func (c *ServerConn) End() { c.end() }

// ClientID returns the name that the client gives itself. Only handlers may
// ask, while they are on the connection's reader.
func (c *ServerConn) ClientID() string { return c.client }

// Go runs f in a goroutine that Serve waits for. Only handlers may call it,
// while they are on the connection's reader.
func (c *ServerConn) Go(f func()) { c.work.Go(f) }

func (s *Server) serveConn(ctx context.Context, nc net.Conn, number uint64) {
	ctx, cancel := context.WithCancel(ctx)
	c := &ServerConn{server: s, number: number, nc: nc, in: bufio.NewReaderSize(nc, readAhead), ctx: ctx, end: cancel}
	c.log = s.cfg.Logger.With("peer", nc.RemoteAddr())
	c.answers.init(s.cfg.PendingMax, s.cfg.PendingBytesMax)
	stop := context.AfterFunc(ctx, func() { c.answers.close(); nc.Close() })
	c.work.Go(c.write)
	err := c.read()
	cancel()
	c.work.Wait()
	stop()
	c.answers.close() // in case stop came before the function ran
	nc.Close()
	switch {
	case errors.Is(err, ErrProtocol):
		c.log.Warn("connection closed: bad request", "client", c.client, "error", err)
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed):
		c.log.Debug("connection ended", "client", c.client, "error", err)
	}
}

// read serves requests until the connection ends.
func (c *ServerConn) read() error {
	for {
		head, err := c.head()
		if err != nil {
			return err
		}
		size := int64(binary.BigEndian.Uint32(head)) - (headLen - 4)
		r := request{
			key:         kmsg.Key(int16(binary.BigEndian.Uint16(head[4:]))),
			version:     int16(binary.BigEndian.Uint16(head[6:])),
			correlation: int32(binary.BigEndian.Uint32(head[8:])),
		}
		route, err := c.server.route(r, size)
		if err != nil {
			return err
		}
		c.in.Discard(headLen) // was peeked: it is there
		var ok bool
		if r.number, ok = c.answers.push(r.correlation, int(size)); !ok {
			return net.ErrClosed
		}
		body, err := c.body(int(size))
		if err != nil {
			return err
		}
		if err := c.serve(route, r, body); err != nil {
			return fmt.Errorf("%w: %s version %d: %w", ErrProtocol, r.key.Name(), r.version, err)
		}
	}
}

type request struct {
	key         kmsg.Key
	version     int16
	correlation int32
	number      uint64 // its place among the answers
}

// head waits for the head of the next request and leaves it in the buffer. A
// client in a long poll has nothing to say, so the idle limit counts from its
// answer.
func (c *ServerConn) head() ([]byte, error) {
	for {
		c.nc.SetReadDeadline(time.Now().Add(c.server.cfg.IdleTimeout))
		head, err := c.in.Peek(headLen)
		switch {
		case err == nil:
			return head, nil
		case errors.Is(err, os.ErrDeadlineExceeded) && len(head) == 0 && !c.answers.quiet(c.server.cfg.IdleTimeout):
		default:
			return nil, err
		}
	}
}

// body reads the rest of a request. It gets memory of its own: decoded records
// point into it.
func (c *ServerConn) body(size int) ([]byte, error) {
	if size > c.in.Buffered() {
		c.nc.SetReadDeadline(time.Now().Add(c.server.cfg.FrameTimeout))
	}
	body := make([]byte, size)
	_, err := io.ReadFull(c.in, body)
	return body, err
}

// route finds who serves r and judges its size, before any of it is read.
func (s *Server) route(r request, size int64) (Route, error) {
	route, ok := s.routes[r.key]
	switch {
	case r.key == kmsg.ApiVersions:
		route = Route{Versions: Span{0, 1<<15 - 1}, BytesMax: apiVersionsBytesMax}
	case !ok:
		return Route{}, fmt.Errorf("%w: request %d is not served here", ErrProtocol, r.key)
	}
	if !route.Versions.has(r.version) {
		return Route{}, fmt.Errorf("%w: %s version %d, served are %d to %d",
			ErrProtocol, r.key.Name(), r.version, route.Versions.Min, route.Versions.Max)
	}
	if size < 0 || size > int64(route.BytesMax) {
		return Route{}, fmt.Errorf("%w: %s says %d bytes, at most %d are accepted", ErrProtocol, r.key.Name(), size, route.BytesMax)
	}
	return route, nil
}

func (c *ServerConn) serve(route Route, r request, body []byte) error {
	if r.key == kmsg.ApiVersions {
		// Nothing in the question changes the answer, so it is not decoded: a
		// version that is not known yet is answered the same way.
		resp := c.server.apiVersions(r.version)
		c.answers.answer(r.number, resp.Version, resp)
		return nil
	}
	req := route.New()
	req.SetVersion(r.version)
	w := walk{b: body, flexible: req.IsFlexible()}
	client := w.header()
	if w.err != nil {
		return w.err
	}
	c.setClient(client)
	if route.Check != nil {
		if err := route.Check(r.version, w.b); err != nil {
			return err
		}
	}
	if err := req.ReadFrom(w.b); err != nil {
		return err
	}
	route.Serve(c.ctx, c, req, func(resp kmsg.Response) {
		c.answers.answer(r.number, r.version, resp)
	})
	return nil
}

// setClient keeps the client's name, as a copy that does not hold the request.
func (c *ServerConn) setClient(name []byte) {
	if name = name[:min(len(name), clientIDMax)]; string(name) != c.client {
		c.client = string(name)
	}
}
