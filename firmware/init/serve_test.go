package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cistern/firmware/machine"
	"cistern/firmware/slot"
)

// refuser reads the head of an update and has seen enough.
type refuser struct{ fake }

func (r *refuser) Update(_ context.Context, file io.Reader) (machine.WrittenUpdate, error) {
	_, _ = io.CopyN(io.Discard, file, 1000)
	return machine.WrittenUpdate{}, slot.ErrSignature
}

// serveOn serves a socket as init does, for as long as the test takes.
func serveOn(t *testing.T, o orders) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := server(o)
	t.Cleanup(func() { s.Close() })
	go func() { _ = s.Serve(newLimited(l, connectionsMax)) }()
	return socket
}

// A sender that looks for the answer when all is sent can send all, more than any
// buffer holds, and finds it.
func TestARefusalReachesWhoStillSends(t *testing.T) {
	c, err := net.Dial("unix", serveOn(t, new(refuser)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	const chunk, chunks = 64 << 10, 100
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: machine\r\nTransfer-Encoding: chunked\r\n\r\n", machine.PathUpdate)
	for n := range chunks {
		if _, err := fmt.Fprintf(c, "%x\r\n%s\r\n", chunk, strings.Repeat("x", chunk)); err != nil {
			t.Fatalf("after %d of %d chunks: %v", n, chunks, err)
		}
	}
	if _, err := io.WriteString(c, "0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), slot.ErrSignature.Error()) || !resp.Close {
		t.Errorf("%s, closes: %v: %s, %v", resp.Status, resp.Close, text, err)
	}
}

// The agent's own client need not send all of it.
func TestARefusalReachesTheAgent(t *testing.T) {
	client := machine.NewClient(serveOn(t, new(refuser)))
	for range 20 {
		if _, err := client.Update(t.Context(), io.LimitReader(zeros{}, 32<<20)); err == nil || !strings.Contains(err.Error(), slot.ErrSignature.Error()) {
			t.Fatal(err)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
