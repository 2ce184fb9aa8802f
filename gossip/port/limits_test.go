package port

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

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
	// On a machine that stands still some of them are out of time before.
	if s := b.Stats(); s.Evicted+s.Invalid < flood-HandshakesMax {
		t.Errorf("%d gave way and %d were out of time, want %d at least", s.Evicted, s.Invalid, flood-HandshakesMax)
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
