package gossip

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

func TestStreamLimits(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "a", Key: newKey(t)})
	var conns []net.Conn
	for range 3 * streamsPerHostMax {
		c, err := net.Dial("tcp", a.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	// The first ones wait for what they have to say; the last ones are shown out.
	last := conns[len(conns)-1]
	last.SetDeadline(time.Now().Add(patience))
	if _, err := last.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("any number of streams is taken")
	}
	a.transport.mu.Lock()
	n := len(a.transport.inbound)
	a.transport.mu.Unlock()
	if n > streamsPerHostMax {
		t.Errorf("%d streams of one host", n)
	}
}

func TestStreamEndsAtItsLimit(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	told := make(chan bool, 2)
	s := newStream(ours, func(answered bool) { told <- answered })
	go func() {
		for {
			if _, err := theirs.Write(make([]byte, 100_000)); err != nil {
				return
			}
		}
	}()
	total, buf := 0, make([]byte, 64<<10)
	var err error
	for err == nil {
		var n int
		n, err = s.Read(buf)
		total += n
	}
	if !errors.Is(err, errStreamTooLong) || total != streamBytesMax {
		t.Errorf("%d bytes, %v", total, err)
	}
	s.Close()
	s.Close()
	if !<-told || len(told) != 0 {
		t.Error("the end has to be told once, and that there was an answer")
	}
}
