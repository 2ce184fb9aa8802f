package vm

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
)

func TestAwaitsWholeLines(t *testing.T) {
	c := newConsole(nil)
	got := make(chan string, 1)
	go func() {
		line, err := c.await(t.Context(), "ready")
		if err != nil {
			line = err.Error()
		}
		got <- line
	}()
	for _, piece := range []string{"booting\r\nthe agent is re", "ady after 3", " s\r\nmore"} {
		_, _ = c.Write([]byte(piece))
	}
	if line := <-got; line != "the agent is ready after 3 s" {
		t.Errorf("awaited %q", line)
	}
	if c.find("more") != "" {
		t.Error("half a line was found")
	}
	c.close()
	if _, err := c.await(t.Context(), "never"); !errors.Is(err, errOff) {
		t.Errorf("a line that can't come any more: %v", err)
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if _, err := newConsole(nil).await(ctx, "x"); !errors.Is(err, why) {
		t.Errorf("ended with %v", err)
	}
}

func TestConsoleKeepsTheEnd(t *testing.T) {
	var all bytes.Buffer
	c := newConsole(&all)
	line := strings.Repeat("x", 99) + "\n"
	const n = 2 * consoleBytesMax / 100
	for range n {
		_, _ = c.Write([]byte(line))
	}
	c.note("the last")
	if len(c.buf) > consoleBytesMax || all.Len() != n*100+len("the last\n") {
		t.Errorf("%d bytes kept, %d passed on", len(c.buf), all.Len())
	}
	if tail := c.tail(150); tail != strings.Repeat("x", 99)+"\nthe last" {
		t.Errorf("the tail is %q", tail)
	}
}
