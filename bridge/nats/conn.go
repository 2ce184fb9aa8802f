package nats

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const inboxID = "1" // of our only subscription

// Conn is a connection to one server. It ends once: at Close, or by its first
// error. All methods may be called from several goroutines.
type Conn struct {
	nc    net.Conn
	r     *bufio.Reader // by the reading goroutine
	inbox string        // what our reply subjects begin with
	pongs chan struct{} // a PING waits for its answer
	heard chan struct{} // closed when nothing more can be read
	done  chan struct{} // closed when everything has ended

	writing sync.Mutex
	w       *bufio.Writer

	mu      sync.Mutex
	info    Info
	err     error
	unsent  error         // of the write that failed
	patient time.Duration // lastWords; tests wait longer
	last    uint64
	pending map[string]pending // by the last token of the reply subject
}

type pending struct {
	subject string // of the question
	answer  func(Msg, error)
}

// Msg is a message from the server.
type Msg struct {
	Header Header
	Status int // of the server's own answers, 0: none
	Data   []byte
}

func newConn(nc net.Conn, r *bufio.Reader, info Info) *Conn {
	return &Conn{
		nc: nc, r: r, info: info,
		w:       bufio.NewWriterSize(&deadlineWriter{nc}, writeBytes),
		inbox:   "_INBOX." + rand.Text() + ".",
		pongs:   make(chan struct{}, 1),
		heard:   make(chan struct{}),
		done:    make(chan struct{}),
		patient: lastWords,
		pending: map[string]pending{},
	}
}

// deadlineWriter bounds the time that a server which does not read can hold us.
type deadlineWriter struct{ net.Conn }

func (w *deadlineWriter) Write(p []byte) (int, error) {
	if err := w.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}

func (c *Conn) start() {
	go func() {
		var group sync.WaitGroup
		ctx, cancel := context.WithCancel(context.Background())
		group.Go(func() { c.pong(ctx) })
		err := c.read()
		c.mu.Lock()
		if errors.Is(err, os.ErrDeadlineExceeded) && c.unsent != nil {
			err = c.unsent // the server had nothing to say
		}
		c.mu.Unlock()
		c.end(err)
		close(c.heard)
		cancel()
		group.Wait()
		c.failAll()
		close(c.done)
	}()
}

// pong answers the server's PINGs. The reading goroutine must not write: it
// could wait for a server that waits for it.
func (c *Conn) pong(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.pongs:
			c.writing.Lock()
			c.w.WriteString("PONG\r\n")
			err := c.w.Flush()
			c.writing.Unlock()
			c.failed(err)
		}
	}
}

// Info returns what the server told about itself last.
func (c *Conn) Info() Info {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.info
}

// Done is closed when the connection has ended and every request was told.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the connection ended, nil while it lasts.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection. What is still in the buffer does not leave.
func (c *Conn) Close() { c.end(ErrClosed) }

// end ends the connection; the first reason counts.
func (c *Conn) end(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	c.nc.Close()
}

// failed ends the connection after a write that failed. A server that refuses
// says why and closes: its words may still lie unread, and tell more than the
// "connection reset" of the next write.
func (c *Conn) failed(err error) error {
	if err == nil {
		return nil
	}
	c.mu.Lock()
	c.unsent = err
	wait := c.patient
	c.mu.Unlock()
	c.nc.SetReadDeadline(time.Now().Add(wait))
	select {
	case <-c.heard:
	case <-time.After(2 * wait): // called by the reading goroutine itself
	}
	c.end(err)
	return c.Err()
}

func (c *Conn) failAll() {
	c.mu.Lock()
	left, err := c.pending, c.err
	c.pending = nil
	c.mu.Unlock()
	for _, p := range left {
		p.answer(Msg{}, err)
	}
}

// Publish puts a message into the buffer; Flush sends it on its way. header is a
// whole block, or empty; reply, or "", is where an answer goes: see Expect. A
// subject must hold no space.
func (c *Conn) Publish(subject, reply string, header, payload []byte) error {
	if subject == "" || strings.ContainsAny(subject, " \t\r\n") {
		return fmt.Errorf("nats: %q can't be a subject", subject)
	}
	var space [256]byte
	line := append(space[:0], "HPUB "...)
	if len(header) == 0 {
		line = append(line[:0], "PUB "...)
	}
	line = append(line, subject...)
	line = append(line, ' ')
	if reply != "" {
		line = append(line, reply...)
		line = append(line, ' ')
	}
	if len(header) > 0 {
		line = strconv.AppendInt(line, int64(len(header)), 10)
		line = append(line, ' ')
	}
	line = strconv.AppendInt(line, int64(len(header)+len(payload)), 10)
	line = append(line, "\r\n"...)
	c.writing.Lock()
	defer c.writing.Unlock()
	c.w.Write(line)
	c.w.Write(header)
	c.w.Write(payload)
	_, err := c.w.WriteString("\r\n") // a writer keeps its first error
	return c.failed(err)
}

// Flush sends what is in the buffer.
func (c *Conn) Flush() error {
	c.writing.Lock()
	err := c.w.Flush()
	c.writing.Unlock()
	return c.failed(err)
}

// Expect prepares for an answer: it returns the subject that a message with this
// question has to name as its reply. answer is called at most once, from the
// reading goroutine, and must not block; not any more once forget was called.
func (c *Conn) Expect(subject string, answer func(Msg, error)) (reply string, forget func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return "", nil, c.err
	case len(c.pending) >= PendingMax:
		return "", nil, errors.New("nats: too many unanswered requests")
	}
	c.last++
	token := strconv.FormatUint(c.last, 36)
	c.pending[token] = pending{subject, answer}
	return c.inbox + token, func() { c.take(token) }, nil
}

func (c *Conn) take(token string) (pending, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.pending[token]
	delete(c.pending, token)
	return p, ok
}

// Request publishes and waits for the answer. A server that says that nobody
// listens is ErrNoResponders.
func (c *Conn) Request(ctx context.Context, subject string, header, payload []byte) (Msg, error) {
	type outcome struct {
		m   Msg
		err error
	}
	answered := make(chan outcome, 1)
	reply, forget, err := c.Expect(subject, func(m Msg, err error) { answered <- outcome{m, err} })
	if err != nil {
		return Msg{}, err
	}
	defer forget()
	if err := c.Publish(subject, reply, header, payload); err != nil {
		return Msg{}, err
	}
	if err := c.Flush(); err != nil {
		return Msg{}, err
	}
	select {
	case o := <-answered:
		return o.m, o.err
	case <-ctx.Done():
		return Msg{}, fmt.Errorf("nats: no answer from %s: %w", subject, ctx.Err())
	}
}
