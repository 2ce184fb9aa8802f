package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// pipes is a listener in memory, so that a server's clock can be a test's.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

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

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.conns <- far
	return near
}

var quiet = slog.New(slog.DiscardHandler)

// serve runs s until the test ends and returns its listener.
func serve(t testing.TB, s *Server) *pipes {
	ctx, cancel := context.WithCancel(context.Background())
	ln, done := newPipes(), make(chan error)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ln
}

var fetchAndProduce = map[kmsg.Key]Span{kmsg.Fetch: {12, 12}, kmsg.Produce: {9, 9}}

// open returns a client of the server behind ln.
func open(t testing.TB, ln *pipes, key kmsg.Key) *Conn {
	c, err := Open(context.Background(), ln.dial(), 7, "server", Config{ClientID: "test"}, map[kmsg.Key]Span{key: fetchAndProduce[key]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); <-c.Done() })
	return c
}

func route(key kmsg.Key, serve Handler) Route {
	return Route{New: key.Request, Versions: fetchAndProduce[key], Serve: serve}
}

// TestServerKeepsOrder: handlers answer backwards, answers leave forwards.
func TestServerKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 20
		var late []func()
		s := NewServer(ServerConfig{Logger: quiet})
		s.Handle(route(kmsg.Fetch, func(_ context.Context, conn *ServerConn, req kmsg.Request, respond func(kmsg.Response)) {
			if conn.ClientID() != "test" {
				t.Errorf("client %q", conn.ClientID())
			}
			resp := kmsg.NewPtrFetchResponse()
			resp.SessionID = req.(*kmsg.FetchRequest).SessionID
			if late = append(late, func() { respond(resp); respond(resp) }); len(late) == n {
				for i := range late {
					late[n-1-i]()
				}
			}
		}))
		c := open(t, serve(t, s), kmsg.Fetch)
		got := make(chan int32, n)
		for i := range int32(n) {
			req := kmsg.NewPtrFetchRequest()
			req.SessionID = i
			if err := c.Start(req, func(r kmsg.Response, err error) {
				if err != nil {
					t.Error(err)
					return
				}
				got <- r.(*kmsg.FetchResponse).SessionID
			}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range int32(n) {
			if id := <-got; id != i {
				t.Errorf("answer %d came as number %d", id, i)
			}
		}
	})
}

// TestServerNoAnswer: a handler may answer with nothing; later ones still come.
func TestServerNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(ServerConfig{Logger: quiet})
		s.Handle(route(kmsg.Produce, func(_ context.Context, _ *ServerConn, _ kmsg.Request, respond func(kmsg.Response)) { respond(nil) }))
		nc := serve(t, s).dial()
		defer nc.Close()
		f := kmsg.NewRequestFormatter()
		go func() {
			nc.Write(f.AppendRequest(nil, &kmsg.ProduceRequest{Version: 9}, 1))
			nc.Write(f.AppendRequest(nil, &kmsg.ApiVersionsRequest{}, 2))
		}()
		if id, _ := readAnswer(t, nc); id != 2 {
			t.Errorf("answer %d came first", id)
		}
	})
}

func readAnswer(t *testing.T, nc net.Conn) (correlation int32, body []byte) {
	t.Helper()
	var head [8]byte
	if _, err := io.ReadFull(nc, head[:]); err != nil {
		t.Fatalf("reading an answer: %v", err)
	}
	body = make([]byte, binary.BigEndian.Uint32(head[:])-4)
	if _, err := io.ReadFull(nc, body); err != nil {
		t.Fatalf("reading an answer: %v", err)
	}
	return int32(binary.BigEndian.Uint32(head[4:])), body
}

// TestServerApiVersions: every version of the question gets an answer that the
// one who asked can read (KIP-511).
func TestServerApiVersions(t *testing.T) {
	for version, want := range map[int16]struct {
		version, code int16
	}{0: {0, 0}, 2: {2, 0}, 3: {3, 0}, 4: {0, 35}, 99: {0, 35}} {
		synctest.Test(t, func(t *testing.T) {
			s := NewServer(ServerConfig{Logger: quiet})
			s.Handle(route(kmsg.Fetch, func(context.Context, *ServerConn, kmsg.Request, func(kmsg.Response)) {}))
			nc := serve(t, s).dial()
			defer nc.Close()
			go nc.Write(kmsg.NewRequestFormatter().AppendRequest(nil, &kmsg.ApiVersionsRequest{Version: version}, 5))
			id, body := readAnswer(t, nc)
			resp := &kmsg.ApiVersionsResponse{Version: want.version}
			if err := resp.ReadFrom(body); err != nil || id != 5 || resp.ErrorCode != want.code || len(resp.ApiKeys) != 2 {
				t.Fatalf("version %d: answer %d %+v, %v", version, id, resp, err)
			}
			if k := resp.ApiKeys[0]; k.ApiKey != 1 || k.MinVersion != 12 || k.MaxVersion != 12 {
				t.Errorf("Fetch is offered as %+v", k)
			}
		})
	}
}

// TestServerBackPressure: with the places for pending requests taken, the
// connection is not read until there is an answer.
func TestServerBackPressure(t *testing.T) {
	for name, cfg := range map[string]ServerConfig{
		"requests": {PendingMax: 2},
		"bytes":    {PendingBytesMax: 2 * 100},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg.Logger = quiet
				s := NewServer(cfg)
				taken := make(chan func(kmsg.Response), 10)
				s.Handle(route(kmsg.Produce, func(_ context.Context, _ *ServerConn, _ kmsg.Request, respond func(kmsg.Response)) { taken <- respond }))
				c := open(t, serve(t, s), kmsg.Produce)
				var answers atomic.Int32
				go func() {
					for range 4 {
						req := &kmsg.ProduceRequest{Topics: []kmsg.ProduceRequestTopic{{Topic: "s", Partitions: []kmsg.ProduceRequestTopicPartition{{Records: make([]byte, 60)}}}}}
						c.Start(req, func(kmsg.Response, error) { answers.Add(1) })
					}
				}()
				for i := range 4 {
					synctest.Wait()
					if want := min(2, 4-i); len(taken) != want {
						t.Fatalf("%d requests were taken after %d answers, want %d", len(taken), i, want)
					}
					(<-taken)(kmsg.NewPtrProduceResponse())
				}
				if synctest.Wait(); answers.Load() != 4 {
					t.Errorf("%d answers", answers.Load())
				}
			})
		})
	}
}

// TestServerIdle: a silent connection is closed, one with a request pending is
// not.
func TestServerIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = time.Minute
		s := NewServer(ServerConfig{IdleTimeout: idle, Logger: quiet})
		s.Handle(route(kmsg.Fetch, func(ctx context.Context, conn *ServerConn, _ kmsg.Request, respond func(kmsg.Response)) {
			conn.Go(func() { sleep(ctx, 3*idle); respond(kmsg.NewPtrFetchResponse()) })
		}))
		ln := serve(t, s)
		nc := ln.dial()
		defer nc.Close()
		start := time.Now()
		f := kmsg.NewRequestFormatter()
		go nc.Write(f.AppendRequest(nil, &kmsg.FetchRequest{Version: 12}, 1))
		if readAnswer(t, nc); time.Since(start) != 3*idle {
			t.Errorf("answer after %v", time.Since(start))
		}
		if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("want the end of the connection: %v", err)
		}
		if d := time.Since(start); d > 5*idle {
			t.Errorf("closed after %v", d)
		}
		dribble := ln.dial()
		go dribble.Write([]byte{0, 0})
		if _, err := dribble.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("want the end of the connection: %v", err)
		}
	})
}

func TestServerConnsMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := serve(t, NewServer(ServerConfig{ConnsMax: 1, Logger: quiet}))
		first := ln.dial()
		synctest.Wait()
		second := ln.dial()
		if _, err := second.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the second connection: %v", err)
		}
		first.Close()
		synctest.Wait()
		third := ln.dial()
		defer third.Close()
		go third.Write(kmsg.NewRequestFormatter().AppendRequest(nil, &kmsg.ApiVersionsRequest{}, 9))
		if id, _ := readAnswer(t, third); id != 9 {
			t.Errorf("answer %d", id)
		}
	})
}

// TestServerEnds: Serve ends what handlers do by their context, waits for it,
// and what they answer afterwards goes nowhere.
func TestServerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(ServerConfig{Logger: quiet})
		var late func(kmsg.Response)
		ended := false
		s.Handle(route(kmsg.Fetch, func(ctx context.Context, conn *ServerConn, _ kmsg.Request, respond func(kmsg.Response)) {
			late = respond
			conn.Go(func() { <-ctx.Done(); time.Sleep(time.Second); ended = true })
		}))
		ctx, cancel := context.WithCancel(context.Background())
		ln, done := newPipes(), make(chan error)
		go func() { done <- s.Serve(ctx, ln) }()
		nc := ln.dial()
		go nc.Write(kmsg.NewRequestFormatter().AppendRequest(nil, &kmsg.FetchRequest{Version: 12}, 1))
		synctest.Wait()
		cancel()
		if err := <-done; err != nil || !ended {
			t.Errorf("Serve ended with %v, its handlers %v", err, ended)
		}
		late(kmsg.NewPtrFetchResponse())
		if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after the end: %v", err)
		}
	})
}

// TestServerListenerFails: a passing failure is waited out, the end is told.
func TestServerListenerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := &failing{errs: []error{errors.New("too many open files"), errors.New("too many open files"), net.ErrClosed}}
		err := NewServer(ServerConfig{Logger: quiet}).Serve(context.Background(), ln)
		if !errors.Is(err, net.ErrClosed) || len(ln.errs) != 0 {
			t.Errorf("Serve ended with %v, %d failures to come", err, len(ln.errs))
		}
	})
}

type failing struct{ errs []error }

func (f *failing) Accept() (net.Conn, error) {
	err := f.errs[0]
	f.errs = f.errs[1:]
	return nil, err
}
func (f *failing) Close() error   { return nil }
func (f *failing) Addr() net.Addr { return &net.UnixAddr{Name: "failing"} }

// TestOpenVersions: what a server lacks is named.
func TestOpenVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(ServerConfig{Logger: quiet})
		s.Handle(Route{New: kmsg.Fetch.Request, Versions: Span{4, 11}, Serve: func(context.Context, *ServerConn, kmsg.Request, func(kmsg.Response)) {}})
		ln := serve(t, s)
		_, err := Open(context.Background(), ln.dial(), 7, "server", Config{}, map[kmsg.Key]Span{kmsg.Fetch: {12, 12}})
		if !errors.Is(err, ErrVersions) {
			t.Errorf("error %v", err)
		}
	})
}
