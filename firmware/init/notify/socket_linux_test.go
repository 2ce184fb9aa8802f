package notify

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestReceiveHearsOneUserOnly(t *testing.T) {
	for _, c := range []struct {
		uid   int
		heard bool
	}{{os.Getuid(), true}, {os.Getuid() + 1, false}} {
		path := filepath.Join(t.TempDir(), "n")
		s, err := Listen(path, c.uid, os.Getgid())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("unixgram", path)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		heard, refused, ended := make(chan int, 2), make(chan error, 2), make(chan error, 1)
		go func() {
			ended <- s.Receive(ctx, func(pid int, m Message) { heard <- pid }, func(err error) { refused <- err })
		}()
		if _, err := conn.Write([]byte("WATCHDOG=1")); err != nil {
			t.Fatal(err)
		}
		select {
		case pid := <-heard:
			if !c.heard || pid != os.Getpid() {
				t.Errorf("user %d: heard process %d", c.uid, pid)
			}
			if _, err := conn.Write([]byte("nonsense")); err != nil {
				t.Fatal(err)
			}
			if err := <-refused; !errors.Is(err, ErrMessage) {
				t.Errorf("nonsense: %v", err)
			}
		case err := <-refused:
			if c.heard || !errors.Is(err, ErrSender) {
				t.Errorf("user %d: %v", c.uid, err)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the end: %v", err)
		}
		conn.Close()
	}
}
