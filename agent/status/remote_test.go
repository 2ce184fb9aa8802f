package status

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"cistern/gossip/port"
	"cistern/gossip/sitekey"
)

// far is a server that operators reach by a site port, and the key of its site.
type far struct {
	*Server
	key  sitekey.Key
	port *port.Port
	log  lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startFar runs it; change, if any, sees the server before that.
func startFar(t *testing.T, change func(*Server)) *far {
	t.Helper()
	f := &far{}
	var err error
	if f.key, err = sitekey.Generate(); err != nil {
		t.Fatal(err)
	}
	if f.port, err = port.Listen("127.0.0.1:0", f.key, "gateway-1"); err != nil {
		t.Fatal(err)
	}
	f.port.Logger = slog.New(slog.DiscardHandler)
	g := example()
	g.tails = make(chan TailQuery, tailsMax+1)
	f.Server = &Server{Socket: filepath.Join(t.TempDir(), "s"), Gatherer: g, Site: &site{}, Remote: f.port.Listener(Protocol),
		Log: slog.New(slog.NewTextHandler(&f.log, nil))}
	if change != nil {
		change(f.Server)
	}
	if err := f.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{f.Run, f.port.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	return f
}

// client is an operator's, with that key.
func (f *far) client(t *testing.T, key sitekey.Key) *Client {
	t.Helper()
	return clientOf(t, f.port.Addr().String(), key)
}

func clientOf(t *testing.T, address string, key sitekey.Key) *Client {
	t.Helper()
	d, err := port.NewDialer(key, "operator")
	if err != nil {
		t.Fatal(err)
	}
	return NewRemoteClient(address, d.Dial)
}

// Who holds the site's key gets what the socket gives, and what they order is
// written down.
func TestOperatorsFromAfar(t *testing.T) {
	f := startFar(t, nil)
	c := f.client(t, f.key)
	d, err := c.Status(t.Context())
	if err != nil || d.Streams[0].Partitions[0].HighWatermark != 17 {
		t.Fatalf("%+v, %v", d, err)
	}
	var seen []string
	if err := c.Tail(t.Context(), TailQuery{Filter: "#", Count: 2}, func(r *TailRecord) error {
		seen = append(seen, r.Topic)
		return nil
	}); err != nil || len(seen) != 2 {
		t.Errorf("tail: %v, %v", seen, err)
	}
	if strings.Contains(f.log.String(), "order") {
		t.Error("a look was logged as an order")
	}
	if err := c.DrainNode(t.Context(), "gateway-2", true); err != nil {
		t.Error(err)
	}
	if log := f.log.String(); !strings.Contains(log, "order=/site/drain-node from=127.0.0.1:") {
		t.Errorf("the log says %q", log)
	}
}

// Whoever has not shown the key gets not one byte of HTTP.
func TestStrangersFromAfar(t *testing.T) {
	f := startFar(t, nil)
	other, err := sitekey.Generate()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.client(t, other).Status(t.Context()); !errors.Is(err, sitekey.ErrKeysDiffer) {
		t.Errorf("another key: %v", err)
	}
	// No certificate, and no care for whose the other one is.
	c, err := tls.Dial("tcp", f.port.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{Protocol}})
	if err == nil {
		defer c.Close()
		if _, err = c.Write([]byte("GET /status HTTP/1.0\r\n\r\n")); err == nil {
			_, err = c.Read(make([]byte, 1))
		}
	}
	if err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("no key: %v", err)
	}
	if _, err := http.Get("http://" + f.port.Addr().String() + "/status"); err == nil {
		t.Error("served without TLS")
	}
}

// What is there may be something else, or nothing.
func TestNoGatewayAfar(t *testing.T) {
	key, err := sitekey.Generate()
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	_, err = clientOf(t, web.Listener.Addr().String(), key).Status(t.Context())
	if !errors.As(err, new(tls.RecordHeaderError)) {
		t.Errorf("a web server: %v", err)
	}

	p, err := port.Listen("127.0.0.1:0", key, "gateway-1") // of a version without this protocol
	if err != nil {
		t.Fatal(err)
	}
	p.Logger = slog.New(slog.DiscardHandler)
	p.Listener("cistern-raft")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	_, err = clientOf(t, p.Addr().String(), key).Status(t.Context())
	if !errors.Is(err, port.ErrUnknownProtocol) {
		t.Errorf("an old gateway: %v", err)
	}
	cancel()
	<-done
	if _, err = clientOf(t, p.Addr().String(), key).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nobody: %v", err)
	}
}

// stuck answers nothing before it is let.
type stuck struct {
	*gateway
	gate  chan struct{}
	asked atomic.Int64
}

func (s *stuck) Status() *Document {
	s.asked.Add(1)
	<-s.gate
	return s.gateway.Status()
}

// Connections are bounded: those above the limit wait, more than that are turned
// away at the port, and all goes on when the others are done.
func TestConnectionsFromAfarAreBounded(t *testing.T) {
	s := &stuck{gateway: example(), gate: make(chan struct{})}
	f := startFar(t, func(server *Server) { server.Gatherer = s })
	d, err := port.NewDialer(f.key, "operator")
	if err != nil {
		t.Fatal(err)
	}
	ask := func() {
		t.Helper()
		c, err := d.Dial(t.Context(), f.port.Addr().String(), Protocol)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		// One that is turned away may be so before this: the port's count tells.
		c.Write([]byte("GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
	}
	for range remotesMax {
		ask()
	}
	await(t, "as many are served as may be", func() bool { return s.asked.Load() == remotesMax })
	// A handshake may end before an earlier one does: which of these is one too
	// many is open, but one is.
	for range port.PendingMax + 1 {
		ask()
	}
	await(t, "one of the others is turned away", func() bool { return f.port.Stats().Full == 1 })
	if _, err := f.client(t, f.key).Status(t.Context()); !errors.Is(err, ErrHungUp) {
		t.Errorf("one too many: %v", err)
	}
	if n := f.port.Stats().Full; n != 2 {
		t.Errorf("the port turned away two and counts %d", n)
	}
	if n := s.asked.Load(); n != remotesMax {
		t.Errorf("%d are served at once, the limit is %d", n, remotesMax)
	}
	close(s.gate)
	await(t, "the others are done", func() bool { return f.port.Stats().Connections == 0 })
	if n := s.asked.Load(); n != remotesMax+port.PendingMax {
		t.Errorf("%d were served, %d were let in", n, remotesMax+port.PendingMax)
	}
	if _, err := f.client(t, f.key).Status(t.Context()); err != nil {
		t.Errorf("when the others are done: %v", err)
	}
}
