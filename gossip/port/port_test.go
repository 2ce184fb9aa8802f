package port

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cistern/gossip/sitekey"
)

const patience = 20 * time.Second

// TestMain proves that no test leaves a goroutine behind.
func TestMain(m *testing.M) {
	code := m.Run()
	for end := time.Now().Add(patience); code == 0 && runtime.NumGoroutine() > 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<16)
			fmt.Printf("goroutines are left:\n%s\n", buf[:runtime.Stack(buf, true)])
			code = 1
		}
	}
	os.Exit(code)
}

func newKey(t testing.TB) sitekey.Key {
	t.Helper()
	k, err := sitekey.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// start returns a running port, and what stops it and waits.
func start(t testing.TB, k sitekey.Key, name string) (p *Port, stop func()) {
	t.Helper()
	p, err := Listen("127.0.0.1:0", k, name)
	if err != nil {
		t.Fatal(err)
	}
	p.Logger = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return p, stop
}

// serveName answers every connection with its peer's name and waits until the
// peer hangs up.
func serveName(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			io.WriteString(c, l.Addr().Network()+" "+PeerName(c))
			c.(*tls.Conn).CloseWrite()
			io.Copy(io.Discard, c)
		}()
	}
}

func dial(t testing.TB, p *Port, to net.Addr, protocol string) (net.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := p.Dial(ctx, to.String(), protocol)
	if err == nil {
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
	}
	return c, err
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestProtocolsAreToldApart(t *testing.T) {
	k := newKey(t)
	a, _ := start(t, k, "a")
	b, _ := start(t, k, "b")
	for _, protocol := range []string{"one", "two"} {
		l := b.Listener(protocol)
		if b.Listener(protocol) != l {
			t.Error("a second listener for one protocol")
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					io.WriteString(c, protocol+" from "+PeerName(c))
				}()
			}
		}()
	}
	for _, protocol := range []string{"one", "two", "one"} {
		c, err := dial(t, a, b.Addr(), protocol)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); string(got) != protocol+" from a" {
			t.Errorf("%q (%v)", got, err)
		}
		if got := PeerName(c); got != "b" {
			t.Errorf("dialed %q", got)
		}
	}
}

func TestUnknownProtocol(t *testing.T) {
	k := newKey(t)
	a, _ := start(t, k, "a")
	b, _ := start(t, k, "b")
	if _, err := dial(t, a, b.Addr(), "one"); !errors.Is(err, ErrUnknownProtocol) {
		t.Errorf("no listener at all: %v", err)
	}
	l := b.Listener("one")
	if _, err := dial(t, a, b.Addr(), "two"); !errors.Is(err, ErrUnknownProtocol) {
		t.Errorf("another listener: %v", err)
	}
	// A TLS client with the key that names no protocol.
	config, err := k.TLS("c")
	if err != nil {
		t.Fatal(err)
	}
	c, err := tls.Dial("tcp", b.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes", n)
	}
	l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	if _, err := dial(t, a, b.Addr(), "one"); !errors.Is(err, ErrUnknownProtocol) {
		t.Errorf("closed listener: %v", err)
	}
	eventually(t, "all refusals counted", func() bool { return b.Stats().Invalid >= 4 && b.Stats().Connections == 0 })
}

func TestOtherSiteKey(t *testing.T) {
	a, _ := start(t, newKey(t), "a")
	b, _ := start(t, newKey(t), "b")
	b.Listener("one")
	_, err := dial(t, a, b.Addr(), "one")
	if !errors.Is(err, sitekey.ErrKeysDiffer) || !strings.Contains(err.Error(), "the site keys differ") {
		t.Errorf("the dialing side is told: %v", err)
	}
	eventually(t, "the listening side counts it", func() bool { return b.Stats().OtherKey == 1 })
}

func TestNobodyThere(t *testing.T) {
	k := newKey(t)
	a, _ := start(t, k, "a")
	b, stop := start(t, k, "b")
	stop()
	if _, err := dial(t, a, b.Addr(), "one"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v, want connection refused", err)
	}
	if _, err := dial(t, b, a.Addr(), "one"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dialing from a closed port: %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	k := newKey(t)
	b, stop := start(t, k, "b")
	go serveName(b.Listener("one"))
	var wg sync.WaitGroup
	for i := range 4 {
		a, _ := start(t, k, fmt.Sprintf("a%d", i))
		for range 6 {
			wg.Go(func() {
				c, err := dial(t, a, b.Addr(), "one")
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := io.ReadAll(c); string(got) != fmt.Sprintf("tcp a%d", i) {
					t.Errorf("a%d was called %q (%v)", i, got, err)
				}
				c.Close()
			})
		}
	}
	wg.Wait()
	eventually(t, "all are gone", func() bool { return b.Stats().Connections == 0 })
	stop()
}

// Whatever is in progress ends with the port.
func TestStop(t *testing.T) {
	k := newKey(t)
	a, _ := start(t, k, "a")
	b, stop := start(t, k, "b")
	l := b.Listener("one")
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			accepted <- c
		}
	}()
	c, err := dial(t, a, b.Addr(), "one")
	if err != nil {
		t.Fatal(err)
	}
	<-accepted
	silent, err := net.Dial("tcp", b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	eventually(t, "the silent one is at the gate", func() bool { return b.Stats().Handshakes == 1 })

	waiting := make(chan error, 1)
	go func() { _, err := l.Accept(); waiting <- err }()
	stop()
	if err := <-waiting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the open connection is still open")
	}
	if s := b.Stats(); s.Connections != 0 || s.Handshakes != 0 {
		t.Errorf("left: %+v", s)
	}
	if _, err := b.Listener("two").Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a listener of a closed port: %v", err)
	}
	if n, err := io.Copy(io.Discard, silent); n != 0 {
		t.Errorf("the silent one got %d bytes (%v)", n, err)
	}
}

func TestPeerNameOfOthers(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if got := PeerName(a); got != "" {
		t.Errorf("a pipe is called %q", got)
	}
}
