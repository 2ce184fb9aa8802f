package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// The console is a serial line of 11 KB/s at best, or a screen. Nothing here
// waits for it: what it can't take in time is left out, and that is said.
const (
	linesQueued  = 256
	lineBytesMax = 1024
	// agentLines is how many lines of the agent's log the console gets in each
	// agentPeriod. All of them are in the log (see ring).
	agentLines  = 40
	agentPeriod = 10 * time.Second
)

// console writes lines in the order they came.
type console struct {
	lines chan string

	mu     sync.Mutex
	missed int
	flush  chan chan struct{}
}

func newConsole(out io.Writer) *console {
	c := &console{lines: make(chan string, linesQueued), flush: make(chan chan struct{})}
	go c.write(out)
	return c
}

func (c *console) write(out io.Writer) {
	for {
		select {
		case line := <-c.lines:
			io.WriteString(out, line) // a console that fails can't be told so
		case done := <-c.flush:
			for len(c.lines) > 0 {
				io.WriteString(out, <-c.lines)
			}
			close(done)
		}
	}
}

// say writes a line of ours.
func (c *console) say(format string, args ...any) { c.line("cistern: " + fmt.Sprintf(format, args...)) }

func (c *console) line(text string) {
	if len(text) > lineBytesMax {
		text = text[:lineBytesMax] + "…"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.missed > 0 {
		text = fmt.Sprintf("cistern: (%d lines left out: the console is too slow)\n%s", c.missed, text)
	}
	select {
	case c.lines <- text + "\n":
		c.missed = 0
	default:
		c.missed++
	}
}

// drain waits until everything is written, or for that long.
func (c *console) drain(atMost time.Duration) {
	done, over := make(chan struct{}), time.After(atMost)
	select {
	case c.flush <- done:
	case <-over:
		return
	}
	select {
	case <-done:
	case <-over:
	}
}

// ring keeps the newest of what is written to it in two files, each half of its
// bytes: the older one is thrown away when the newer is full.
type ring struct {
	path  string
	half  int
	file  *os.File
	bytes int
}

// logBytes is what the log may take of memory.
const logBytes = 1 << 20

func (r *ring) Write(p []byte) (int, error) {
	if r.file == nil || r.bytes+len(p) > r.half {
		if err := r.turn(); err != nil {
			return 0, err
		}
	}
	n, err := r.file.Write(p)
	r.bytes += n
	return n, err
}

func (r *ring) turn() error {
	if r.file != nil {
		r.file.Close()
		if err := os.Rename(r.path, r.path+".1"); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	r.file, r.bytes = f, 0
	return err
}

// tee reads a program's output to its end: all of it goes to the ring, as many
// lines as it can take to the console, and the last in any case: why it ended.
type tee struct {
	ring    io.Writer
	console *console
	now     func() time.Time

	since time.Time
	sent  int
	left  int

	mu   sync.Mutex
	last string
}

func (t *tee) read(from io.Reader, prefix string) {
	lines := bufio.NewReaderSize(from, lineBytesMax)
	for {
		line, err := lines.ReadSlice('\n') // a longer one comes in pieces
		if len(line) > 0 {
			t.take(prefix, line)
		}
		if err != nil && err != bufio.ErrBufferFull {
			t.lastWords(prefix)
			return
		}
	}
}

func (t *tee) lastWords(prefix string) {
	if t.left == 0 {
		return
	}
	t.console.say("(%d lines of the log left out here, the last was:)", t.left)
	t.console.line(prefix + t.lastLine())
	t.left = 0
}

func (t *tee) take(prefix string, line []byte) {
	t.ring.Write(line) // full memory costs log lines, nothing else
	text := string(bytes.TrimRight(line, "\r\n"))
	t.mu.Lock()
	if text != "" {
		t.last = text
	}
	t.mu.Unlock()
	if now := t.now(); now.Sub(t.since) >= agentPeriod {
		if t.left > 0 {
			t.console.say("(%d lines of the log left out here)", t.left)
		}
		t.since, t.sent, t.left = now, 0, 0
	}
	if t.sent == agentLines {
		t.left++
		return
	}
	t.sent++
	t.console.line(prefix + text)
}

func (t *tee) lastLine() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}
