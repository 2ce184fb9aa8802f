package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Limits of a server, where its configuration names no others.
const (
	ServerConnsMax        = 64              // connections at once; more are closed on arrival
	ServerPendingMax      = 64              // requests of one connection that wait for their answer
	ServerPendingBytesMax = 4 << 20         // and their bytes; beyond, the connection is not read
	ServerIdleTimeout     = 5 * time.Minute // without a request and without one pending
	ServerFrameTimeout    = 30 * time.Second
	ServerWriteTimeout    = 30 * time.Second

	// RequestBytesMax bounds requests whose route sets no limit of its own.
	RequestBytesMax = 64 << 10
)

// ServerConfig says what a server bears. Zero values stand for the limits
// above.
type ServerConfig struct {
	ConnsMax        int
	PendingMax      int
	PendingBytesMax int
	IdleTimeout     time.Duration
	FrameTimeout    time.Duration // from the head of a request to its end
	WriteTimeout    time.Duration // of one batch of answers
	Logger          *slog.Logger  // nil: slog.Default
}

// Handler serves one request. It is called on the connection's reader, in the
// order of the requests, so it must not block: what takes time goes to
// [ServerConn.Go]. ctx ends with the connection.
//
// respond is called exactly once, from any goroutine; it does not block, and
// once the connection has ended it does nothing. A nil answer is none at all,
// as acks=0 wants it. The request and its bytes belong to the handler.
type Handler func(ctx context.Context, conn *ServerConn, req kmsg.Request, respond func(kmsg.Response))

// Route is one kind of request that a server knows.
type Route struct {
	// New returns an empty request. It is a function and not a key, since
	// making requests by key would link every message there is.
	New      func() kmsg.Request
	Versions Span
	BytesMax int // of one request; 0: RequestBytesMax

	// Check looks at the bytes before they are decoded, nil for no look. It
	// is what keeps a small request from costing much memory: see CheckProduce.
	Check func(version int16, body []byte) error
	Serve Handler
}

// Server answers Kafka requests on whatever connections it is given. It knows
// ApiVersions by itself and everything else by its routes.
type Server struct {
	cfg    ServerConfig
	routes map[kmsg.Key]Route
}

// NewServer returns a server without routes.
func NewServer(cfg ServerConfig) *Server {
	return &Server{cfg: cfg.withDefaults(), routes: map[kmsg.Key]Route{}}
}

func (c ServerConfig) withDefaults() ServerConfig {
	c.ConnsMax = cmp.Or(c.ConnsMax, ServerConnsMax)
	c.PendingMax = cmp.Or(c.PendingMax, ServerPendingMax)
	c.PendingBytesMax = cmp.Or(c.PendingBytesMax, ServerPendingBytesMax)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, ServerIdleTimeout)
	c.FrameTimeout = cmp.Or(c.FrameTimeout, ServerFrameTimeout)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, ServerWriteTimeout)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Handle adds a route; all of them before Serve. It panics on a route that can
// never work, which is a mistake in the program.
func (s *Server) Handle(r Route) {
	if r.New == nil || r.Serve == nil {
		panic("kafka: route without a request or a handler")
	}
	req := r.New()
	key := kmsg.Key(req.Key())
	if r.Versions.Min < 0 || r.Versions.Min > r.Versions.Max || r.Versions.Max > req.MaxVersion() {
		panic(fmt.Sprintf("kafka: route for %s with versions %d to %d", key.Name(), r.Versions.Min, r.Versions.Max))
	}
	r.BytesMax = cmp.Or(r.BytesMax, RequestBytesMax)
	s.routes[key] = r
}

// Serve answers on the connections of ln until ctx ends or ln fails. It closes
// ln, and returns when every connection and every goroutine of a handler has
// ended.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	places := make(chan struct{}, s.cfg.ConnsMax)
	accepted := uint64(0)
	for delay := acceptDelayMin; ; {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			delay = acceptDelayMin
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("kafka: listener %s: %w", ln.Addr(), err)
		default: // too many open files, as a rule: it passes
			s.cfg.Logger.Warn("cannot accept a connection", "listener", ln.Addr(), "error", err)
			if sleep(ctx, delay) != nil {
				return nil
			}
			delay = min(2*delay, acceptDelayMax)
			continue
		}
		select {
		case places <- struct{}{}:
			accepted++
			number := accepted
			conns.Go(func() { defer func() { <-places }(); s.serveConn(ctx, nc, number) })
		default:
			s.cfg.Logger.Warn("too many connections, one is closed", "peer", nc.RemoteAddr(), "max", s.cfg.ConnsMax)
			nc.Close()
		}
	}
}

const (
	acceptDelayMin = 5 * time.Millisecond
	acceptDelayMax = time.Second
)

// apiVersions answers ApiVersions. A version of the question that is unknown is
// answered in version 0, with the reason (KIP-511).
func (s *Server) apiVersions(version int16) *kmsg.ApiVersionsResponse {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version = version
	if !apiVersions.has(version) {
		resp.Version, resp.ErrorCode = 0, codeUnsupportedVersion
	}
	offer := func(key kmsg.Key, v Span) {
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = int16(key), v.Min, v.Max
		resp.ApiKeys = append(resp.ApiKeys, k)
	}
	offer(kmsg.ApiVersions, apiVersions)
	for key, r := range s.routes {
		offer(key, r.Versions)
	}
	slices.SortFunc(resp.ApiKeys, func(a, b kmsg.ApiVersionsResponseApiKey) int { return cmp.Compare(a.ApiKey, b.ApiKey) })
	return resp
}
