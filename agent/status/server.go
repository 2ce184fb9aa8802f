package status

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Limits of the server. It serves a few scrapes and a few people; nothing on it
// may take memory or time from the journal.
const (
	headerBytesMax = 8 << 10
	readTimeout    = 5 * time.Second
	writeTimeout   = 10 * time.Second // of one answer, or of one line of /tail
	idleTimeout    = 60 * time.Second
	connectionsMax = 64 // per listener
	remotesMax     = 16 // connections by the site port; others wait at its gate
	tailsMax       = 4
	importsMax     = 1 // chunks at a time: each is in memory
	updatesMax     = 1
	stopTimeout    = time.Second
)

// Protocol is what the site port knows this server by.
const Protocol = "cistern-admin"

// Gatherer is what a Server tells about. It must allow concurrent calls.
type Gatherer interface {
	// Status returns the gateway's state now.
	Status() *Document
	// Tail calls emit for each committed record that q wants, in the order of
	// each partition, until ctx is done, emit fails, or q.Count is reached.
	Tail(ctx context.Context, q TailQuery, emit func(*TailRecord) error) error
}

// Server answers questions about a gateway.
type Server struct {
	Socket   string // path of the unix socket
	HTTP     string // optional TCP address
	Gatherer Gatherer
	Remote   net.Listener   // optional: for who has shown the site's key, which gives all that the socket does
	Site     SiteAdmin      // nil: this gateway is on its own
	Drain    DrainAdmin     // nil: nothing can be ordered of the drain
	Carrier  Carrier        // nil: nothing can be carried out or in
	Machine  MachineAdmin   // nil: this gateway does not run from an image
	Sets     []*metrics.Set // counters of the parts, for /metrics
	Log      *slog.Logger

	stopWait  time.Duration // how long answers under way may take to finish; 0: stopTimeout
	tails     chan struct{}
	imports   chan struct{}
	updates   chan struct{}
	tcp       net.Addr // nil: none
	listeners []net.Listener
	servers   []*http.Server
}

// Listen opens the socket and the TCP address. Run closes them.
func (s *Server) Listen() error {
	s.tails = make(chan struct{}, tailsMax)
	s.imports = make(chan struct{}, importsMax)
	s.updates = make(chan struct{}, updatesMax)
	unix, err := listenUnix(s.Socket)
	if err != nil {
		return fmt.Errorf("status socket: %w", err)
	}
	s.add(unix, socket, connectionsMax)
	if s.Remote != nil {
		s.add(s.Remote, operator, remotesMax)
	}
	if s.HTTP == "" {
		return nil
	}
	tcp, err := net.Listen("tcp", s.HTTP)
	if err != nil {
		for _, l := range s.listeners {
			l.Close()
		}
		return fmt.Errorf("status http: %w", err)
	}
	who := network
	if tcp.Addr().(*net.TCPAddr).IP.IsLoopback() {
		who = loopback
	}
	s.tcp = tcp.Addr()
	s.add(tcp, who, connectionsMax)
	return nil
}

// Addr returns the TCP address, nil when there is none.
func (s *Server) Addr() net.Addr { return s.tcp }

func (s *Server) add(l net.Listener, who access, most int) {
	s.listeners = append(s.listeners, limitListener(l, most))
	s.servers = append(s.servers, &http.Server{
		Handler:           s.handler(who),
		ReadHeaderTimeout: readTimeout, // not ReadTimeout, which would end a tail
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytesMax,
		ErrorLog:          slog.NewLogLogger(s.logger().Handler(), slog.LevelDebug),
	})
}

// Run serves until ctx is done. Streams end with it.
func (s *Server) Run(ctx context.Context) error {
	ended := make(chan error, len(s.servers))
	for i, srv := range s.servers {
		srv.BaseContext = func(net.Listener) context.Context { return ctx }
		go func() { ended <- srv.Serve(s.listeners[i]) }()
	}
	var err error
	running := len(s.servers)
	select {
	case <-ctx.Done():
	case err = <-ended:
		running--
	}
	for _, srv := range s.servers {
		s.stop(srv)
	}
	for ; running > 0; running-- {
		<-ended
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("status server: %w", err)
}

// stop lets answers under way finish for a moment, then closes everything.
func (s *Server) stop(srv *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(s.stopWait, stopTimeout))
	defer cancel()
	if srv.Shutdown(ctx) != nil {
		srv.Close()
	}
}

func (s *Server) logger() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return s.Log
}

// listenUnix opens a socket that only this user can connect to. A socket file
// that an earlier agent left behind is replaced; the data folder's lock has
// already made sure that no other agent uses it.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("%s exists and is no socket; remove it or set socket in [status]", path)
		}
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			c.Close()
			return nil, fmt.Errorf("%s is in use by another process", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
