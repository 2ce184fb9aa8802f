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

func TestGarbage(t *testing.T) {
	k := newKey(t)
	a, _ := start(t, k, "a")
	b, _ := start(t, k, "b")
	go serveName(b.Listener("one"))
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\xff\xff", strings.Repeat("\x00", 70_000), "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"} {
		c, err := net.Dial("tcp", b.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patience))
		io.WriteString(c, garbage)
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c) // until it hangs up
		c.Close()
	}
	eventually(t, "the gate is empty", func() bool { s := b.Stats(); return s.Handshakes == 0 && s.Connections == 0 })
	if b.Stats().Invalid == 0 {
		t.Error("garbage was not counted")
	}
	if _, err := dial(t, a, b.Addr(), "one"); err != nil {
		t.Error(err)
	}
}

// Peers that connect and say nothing take the places of each other, never
// those of peers that have a key.
func TestSilentFlood(t *testing.T) {
	k := newKey(t)
	a, _ := start(t, k, "a")
	b, _ := start(t, k, "b")
	go serveName(b.Listener("one"))
	const flood = 3 * HandshakesMax
	for range flood {
		c, err := net.Dial("tcp", b.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if n := b.Stats().Handshakes; n > HandshakesMax {
			t.Fatalf("%d handshakes at once", n)
		}
	}
	for range 5 {
		c, err := dial(t, a, b.Addr(), "one")
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(c); string(got) != "tcp a" {
			t.Errorf("answer %q", got)
		}
	}
	if got := b.Stats().Evicted; got < flood-HandshakesMax {
		t.Errorf("%d gave way, want %d at least", got, flood-HandshakesMax)
	}
}

func TestGateEvictsOfTheBusiestAddress(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	from := func(ip string) *conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		c, err := d.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Skipf("no second loopback address here: %v", err)
		}
		t.Cleanup(func() { c.Close() })
		raw, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		return newConn(raw.(*net.TCPConn))
	}
	var g gate
	good := from("127.0.0.2")
	g.enter(good) // the longest wait of all
	first := from("127.0.0.3")
	g.enter(first)
	for range HandshakesMax - 2 {
		if g.enter(from("127.0.0.3")) != nil {
			t.Fatal("evicted although there was room")
		}
	}
	if got := g.enter(from("127.0.0.4")); got != first {
		t.Errorf("evicted %v, want the longest wait of 127.0.0.3", got.host)
	}
	g.leave(good)
	g.leave(good) // twice is harmless
	if g.len() != HandshakesMax-1 {
		t.Errorf("%d are in", g.len())
	}
}

func TestLimitsOfAListener(t *testing.T) {
	k := newKey(t)
	a, _ := start(t, k, "a")
	b, _ := start(t, k, "b")
	l := b.Listener("one").(*listener)

	l.mu.Lock()
	l.open = ConnectionsMax // as if that many were open
	l.mu.Unlock()
	c, err := dial(t, a, b.Addr(), "one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("one too many was served")
	}
	eventually(t, "it is counted", func() bool { return b.Stats().Full == 1 })

	l.mu.Lock()
	l.open = 0
	l.mu.Unlock()
	for range PendingMax {
		if _, err := dial(t, a, b.Addr(), "one"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all wait", func() bool { return len(l.queue) == PendingMax })
	if _, err := dial(t, a, b.Addr(), "one"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one more does not", func() bool { return b.Stats().Full == 2 })

	got, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	open := func() int { l.mu.Lock(); defer l.mu.Unlock(); return l.open }
	if open() != PendingMax {
		t.Errorf("%d open", open())
	}
	got.Close()
	got.Close()
	if open() != PendingMax-1 {
		t.Errorf("%d open after closing one", open())
	}
	l.Close()
	if open() != 0 || len(l.queue) != 0 {
		t.Errorf("%d open, %d waiting after Close", open(), len(l.queue))
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

func TestSlowHandshakeEnds(t *testing.T) {
	if testing.Short() {
		t.Skip("takes HandshakeTime")
	}
	t.Parallel()
	b, _ := start(t, newKey(t), "b")
	b.Listener("one")
	c, err := net.Dial("tcp", b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(HandshakeTime + patience))
	io.WriteString(c, "\x16\x03\x01") // and never more
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a handshake that does not go on is kept for ever")
	}
	eventually(t, "it is counted", func() bool { s := b.Stats(); return s.Invalid == 1 && s.Connections == 0 })
}
