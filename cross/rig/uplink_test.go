package rig

import (
	"io"
	"net"
	"testing"
)

// echo listens and sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	}()
	return l.Addr().String()
}

func TestUplinkIsCutAndMended(t *testing.T) {
	u, err := NewUplink()
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	server := echo(t)

	dial := func() net.Conn {
		c, err := net.Dial("tcp", u.Address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	passes := func(c net.Conn) bool {
		_, _ = c.Write([]byte("x"))
		var b [1]byte
		_, err := io.ReadFull(c, b[:])
		return err == nil
	}

	if passes(dial()) {
		t.Error("passes before it was mended")
	}
	u.Mend(server)
	c := dial()
	if !passes(c) {
		t.Error("does not pass while up")
	}
	u.Cut()
	if passes(c) || passes(dial()) {
		t.Error("passes after the cut")
	}
	u.Mend(server)
	if !passes(dial()) {
		t.Error("does not pass when mended again")
	}
}
