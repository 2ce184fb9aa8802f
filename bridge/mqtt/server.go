package mqtt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"cistern/bridge/mqtt/packet"
)

// Server is an MQTT server. New checks the configuration, Listen takes the
// addresses, Run serves until its context ends.
type Server struct {
	config  Config
	limits  Limits
	router  *Router
	count   *counters
	log     *slog.Logger
	calm    *calmLog
	rate    *rateLimiter
	memory  *memory
	fanout  *fanout
	scratch sync.Pool // *scratch

	// connections live until this ends, which is after the acks that were
	// waiting when Run was told to stop
	life    context.Context
	endLife context.CancelFunc

	mu        sync.Mutex
	listeners []*listener
	conns     map[*conn]struct{}
	clients   map[string]*conn // by client id
	stopping  atomic.Bool      // no new connections, no new messages; set with mu held
	serving   sync.WaitGroup   // serve and write goroutines
}

// New checks config and returns a Server that does nothing yet.
func New(config Config) (*Server, error) {
	limits := config.Limits.withDefaults()
	if err := limits.validate(); err != nil {
		return nil, err
	}
	if config.Appender == nil || config.Partitions == nil {
		return nil, errors.New("mqtt: Config needs an Appender and Partitions")
	}
	for _, l := range config.Listeners {
		if err := checkListener(l, config.Auth != nil); err != nil {
			return nil, err
		}
	}
	router, err := NewRouter(config.Routes, config.Partitions, config.Site, config.ClockMark)
	if err != nil {
		return nil, err
	}
	log := cmp.Or(config.Logger, slog.Default())
	s := &Server{
		config:  config,
		limits:  limits,
		router:  router,
		count:   newCounters(config.Metrics),
		log:     log,
		calm:    &calmLog{log: log, kinds: map[string]*calmKind{}},
		rate:    &rateLimiter{rate: float64(limits.ConnectRate), burst: float64(limits.ConnectBurst), buckets: map[netip.Addr]*bucket{}},
		memory:  &memory{max: int64(limits.MemoryBytes)},
		conns:   map[*conn]struct{}{},
		clients: map[string]*conn{},
	}
	s.scratch.New = func() any { return new(scratch) }
	s.life, s.endLife = context.WithCancel(context.Background())
	s.fanout = newFanout(s)
	s.count.set.GetOrCreateGauge("cistern_mqtt_connections", func() float64 { return float64(s.Connections()) })
	return s, nil
}

// Connections returns the number of connections that are open.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Run serves until ctx ends, then stops: no new connections, no new messages,
// a bounded wait for the acks that are due, a DISCONNECT to MQTT 5 clients. It
// returns when all its goroutines have.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(); err != nil {
		return err
	}
	var accepting sync.WaitGroup
	for _, l := range s.listeners {
		accepting.Go(func() { s.accept(l) })
		s.log.Info("mqtt: listening", "address", l.Addr().String(), "anonymous", l.anonymous)
	}
	<-ctx.Done()
	s.stop()
	accepting.Wait()
	s.serving.Wait()
	s.fanout.wait()
	return nil
}

// stop ends what Run started. Connections end by themselves once they have no
// ack to wait for, see conn.drain.
func (s *Server) stop() {
	s.mu.Lock()
	s.stopping.Store(true)
	for _, l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.wake()
	}
	s.mu.Unlock()
	hurry := time.AfterFunc(s.limits.StopTime, s.endAll)
	s.serving.Wait()
	hurry.Stop()
	s.endLife()
}

// endAll ends the connections that still wait for acks.
func (s *Server) endAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.end(packet.ServerShuttingDown, "the gateway stops")
	}
}

// admit enters a new connection and starts serving it, unless there are too
// many or the server stops.
func (s *Server) admit(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping.Load() || len(s.conns) >= s.limits.Connections {
		return false
	}
	s.conns[c] = struct{}{}
	s.serving.Go(c.serve)
	return true
}

// claim makes c the connection of its client id. A connection that has it is
// ended first, and has taken its last message when claim returns, so that one
// client's messages never arrive through two connections at once.
func (s *Server) claim(ctx context.Context, c *conn) error {
	for {
		s.mu.Lock()
		old := s.clients[c.client]
		if old == nil {
			s.clients[c.client] = c
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		s.count.takeovers.Inc()
		old.end(packet.SessionTakenOver, "another connection uses this client id")
		select {
		case <-old.quiet:
		case <-ctx.Done():
			return fmt.Errorf("mqtt: client %q: its other connection did not end in time: %w", c.client, ctx.Err())
		}
	}
}

// yield gives up the client id and says that c takes no more messages.
func (s *Server) yield(c *conn) {
	s.mu.Lock()
	if s.clients[c.client] == c {
		delete(s.clients, c.client)
	}
	s.mu.Unlock()
	close(c.quiet)
}

// forget removes a connection that is closed.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// listener is a bound Listener.
type listener struct {
	net.Listener
	anonymous bool // clients need no user name
}
