package vm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
)

const (
	consoleBytesMax = 256 << 10 // kept of a console, newest last
	tailShown       = 6 << 10   // of it in an error
)

// errOff is why a line that has not come never will.
var errOff = errors.New("the machine is off")

// console is a writer that remembers the end of what was written, and tells
// those who wait for a line when there is more.
type console struct {
	also io.Writer // gets all of it, too; may be nil

	mu   sync.Mutex
	buf  []byte
	more chan struct{} // closed at the next write
	off  bool
}

func newConsole(also io.Writer) *console {
	return &console{also: also, more: make(chan struct{})}
}

// Write never fails: a console nobody reads must not stop the machine.
func (c *console) Write(b []byte) (int, error) {
	if c.also != nil {
		_, _ = c.also.Write(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = append(c.buf, b...)
	if over := len(c.buf) - consoleBytesMax; over > 0 {
		c.buf = c.buf[:copy(c.buf, c.buf[over:])]
	}
	c.wake()
	return len(b), nil
}

func (c *console) wake() {
	close(c.more)
	c.more = make(chan struct{})
}

// note adds a line of ours.
func (c *console) note(line string) { _, _ = c.Write([]byte(line + "\n")) }

// close says that nothing more will come.
func (c *console) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = true
	c.wake()
}

// await returns the first whole line kept that holds text.
func (c *console) await(ctx context.Context, text string) (string, error) {
	for {
		line, more, off := c.look(text)
		switch {
		case line != "":
			return line, nil
		case off:
			return "", errOff
		}
		select {
		case <-more:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

func (c *console) look(text string) (line string, more <-chan struct{}, off bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return lineWith(c.buf, text), c.more, c.off
}

func (c *console) find(text string) string {
	line, _, _ := c.look(text)
	return line
}

// lineWith returns the first whole line of b that holds text.
func lineWith(b []byte, text string) string {
	at := bytes.Index(b, []byte(text))
	if at < 0 {
		return ""
	}
	end := bytes.IndexByte(b[at:], '\n')
	if end < 0 {
		return ""
	}
	start := bytes.LastIndexByte(b[:at], '\n') + 1
	return strings.TrimRight(string(b[start:at+end]), "\r")
}

func (c *console) tail(n int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.buf
	if len(b) > n {
		b = b[len(b)-n:]
		if nl := bytes.IndexByte(b, '\n'); nl >= 0 {
			b = b[nl+1:]
		}
	}
	return strings.TrimSpace(strings.ReplaceAll(string(b), "\r", ""))
}
