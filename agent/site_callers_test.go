package agent

import (
	"context"
	"errors"
	"net"
	"testing"

	"cistern/gossip/port"
	"cistern/gossip/sitekey"
)

// A caller that hangs up is named, once; closing our own side says nothing.
func TestCallers(t *testing.T) {
	key, err := sitekey.Generate()
	if err != nil {
		t.Fatal(err)
	}
	open := func(name string) *port.Port {
		p, err := port.Listen("127.0.0.1:0", key, name)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			<-done
		})
		return p
	}
	a, b := open("a"), open("b")
	gone := make(chan string, 3)
	l := callers{a.Listener("test"), func(name string) { gone <- name }}
	call := func() (theirs, ours net.Conn) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		theirs, err := b.Dial(ctx, a.Addr().String(), "test")
		if err != nil {
			t.Fatal(err)
		}
		if ours, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		return theirs, ours
	}

	theirs, ours := call()
	defer theirs.Close()
	ours.Close()
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	theirs, ours = call()
	defer ours.Close()
	if port.PeerName(ours) != "b" {
		t.Errorf("the caller is %q", port.PeerName(ours))
	}
	theirs.Close()
	for range 2 {
		if _, err := ours.Read(make([]byte, 1)); err == nil {
			t.Error("read from one who hung up")
		}
	}
	if name := <-gone; name != "b" || len(gone) > 0 {
		t.Errorf("%q hung up, and %d more", name, len(gone))
	}
}
