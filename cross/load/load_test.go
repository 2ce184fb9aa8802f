package load

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// broker is the least a QoS 1 publisher needs: it accepts, and confirms after
// delay. It answers a wrong packet id when it is told to.
func broker(t *testing.T, delay time.Duration, wrong bool) string {
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
			go confirm(c, delay, wrong)
		}
	}()
	return l.Addr().String()
}

func confirm(c net.Conn, delay time.Duration, wrong bool) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		kind, err := in.ReadByte()
		if err != nil {
			return
		}
		length, shift := 0, 0
		for more := true; more; shift += 7 {
			b, _ := in.ReadByte()
			length |= int(b&0x7f) << shift
			more = b&0x80 != 0
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		answer := []byte{connackPacket, 2, 0, 0}
		if kind == publishQoS1 {
			time.Sleep(delay)
			topic := int(body[0])<<8 | int(body[1])
			answer = []byte{pubackPacket, 2, body[2+topic], body[3+topic]}
			if wrong {
				answer[3]++
			}
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

func TestClosedLoopMeasuresUntilPuback(t *testing.T) {
	const delay, window, clients = 2 * time.Millisecond, 200 * time.Millisecond, 2
	calls := 0
	r, err := Run(t.Context(), Load{
		Address: broker(t, delay, false), Clients: clients, InFlight: 1, Size: 256,
		Warmup: 20 * time.Millisecond, Duration: window,
		Measured: func() { calls++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	// Of the window, not of r.Elapsed: who reads the counters may be woken late.
	most := int64(clients * (window/delay + 1))
	if r.Messages == 0 || r.Messages > most || r.Percentile(0) < delay || calls != 2 {
		t.Errorf("%d messages, %.0f/s, fastest %s, counters read %d times", r.Messages, r.PerSecond(), r.Percentile(0), calls)
	}
}

func TestPacedKeepsThePace(t *testing.T) {
	r, err := Run(t.Context(), Load{
		Address: broker(t, 0, false), Clients: 4, InFlight: 1, Size: 256, Rate: 100,
		Duration: 300 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Messages < 60 || r.Messages > 125 {
		t.Errorf("%d messages of 4 clients at 100/s in 0.3 s, want 120", r.Messages)
	}
}

func TestAWrongPubackIsAnError(t *testing.T) {
	_, err := Run(t.Context(), Load{Address: broker(t, 0, true), Clients: 1, InFlight: 1, Size: 128, Duration: time.Second})
	if err == nil {
		t.Error("no error for the PUBACK of a message that was never sent")
	}
}

func TestAwaitConfirm(t *testing.T) {
	if err := AwaitConfirm(t.Context(), broker(t, 0, false)); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := AwaitConfirm(ctx, "127.0.0.1:1"); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for nobody ended with %v", err)
	}
}

func TestClientsTakeAddressesInTurn(t *testing.T) {
	l := Load{Addresses: []string{"a", "b"}}
	for i, want := range []string{"a", "b", "a"} {
		if got := l.address(i); got != want {
			t.Errorf("client %d goes to %s, want %s", i, got, want)
		}
	}
}
