package status

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"cistern/firmware/machine"
)

// ErrNotRunning is returned when no agent listens there.
var ErrNotRunning = errors.New("no agent is running there")

// Client asks a running agent, over its unix socket or its site port.
type Client struct {
	where string
	http  http.Client
}

// NewClient returns a client for the agent behind that socket. It connects
// with each question.
func NewClient(socket string) *Client {
	return newClient(socket, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{Timeout: readTimeout}).DialContext(ctx, "unix", socket)
	})
}

// NewRemoteClient returns a client for the agent whose site port has that address.
// dial connects to it for a protocol: that of a port.Dialer.
func NewRemoteClient(address string, dial func(ctx context.Context, address, protocol string) (net.Conn, error)) *Client {
	return newClient(address, func(ctx context.Context) (net.Conn, error) {
		return dial(ctx, address, Protocol)
	})
}

func newClient(where string, dial func(context.Context) (net.Conn, error)) *Client {
	return &Client{where, http.Client{Transport: &http.Transport{
		DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives:     true,
		ExpectContinueTimeout: writeTimeout,
	}}}
}

// answerBytesMax bounds what a client reads: 1024 streams of 1024 partitions
// would not fit, and no gateway has them.
const answerBytesMax = 64 << 20

// Status asks for the gateway's state.
func (c *Client) Status(ctx context.Context) (*Document, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	body, err := c.get(ctx, "/status")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	d := new(Document)
	if err := json.NewDecoder(io.LimitReader(body, answerBytesMax)).Decode(d); err != nil {
		return nil, fmt.Errorf("status from %s: %w", c.where, err)
	}
	return d, nil
}

// lineBytesMax bounds one line of a tail: a batch's worth of JSON escapes.
const lineBytesMax = 8 << 20

// Tail calls show for each record until the stream ends, which is nil when the
// agent stopped or q.Count was reached.
func (c *Client) Tail(ctx context.Context, q TailQuery, show func(*TailRecord) error) error {
	body, err := c.get(ctx, "/tail?"+q.encode())
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, lineBytesMax)
	for lines.Scan() {
		var line struct {
			TailRecord
			problem
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("tail from %s: %w", c.where, err)
		}
		if line.Error != "" {
			return errors.New(line.Error)
		}
		if err := show(&line.TailRecord); err != nil {
			return err
		}
	}
	if ctx.Err() != nil || errors.Is(lines.Err(), io.ErrUnexpectedEOF) {
		return ctx.Err()
	}
	return lines.Err()
}

func (c *Client) get(ctx context.Context, path string) (io.ReadCloser, error) {
	return c.ask(ctx, http.MethodGet, path, nil)
}

func (c *Client) ask(ctx context.Context, method, path string, what []byte) (io.ReadCloser, error) {
	r, err := c.send(ctx, method, path, what)
	if err != nil {
		return nil, err
	}
	if r.StatusCode == http.StatusOK {
		return r.Body, nil
	}
	defer r.Body.Close()
	return nil, refusal(r)
}

func (c *Client) send(ctx context.Context, method, path string, what []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://cistern"+path, bytes.NewReader(what))
	if err != nil {
		return nil, err
	}
	return c.do(r)
}

func (c *Client) do(r *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(r)
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err // its text adds a URL that means nothing here
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%s: %w", c.where, ErrNotRunning)
	case hungUp(err):
		return nil, fmt.Errorf("%s: %w", c.where, ErrHungUp)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", c.where, err)
	}
	return resp, nil
}

// hungUp recognises the end of a connection. One that ends before net/http has sent
// the request has an error of its own, which is not exported.
func hungUp(err error) bool {
	for _, known := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, known) {
			return true
		}
	}
	return err != nil && err.Error() == "http: server closed idle connection"
}

// ErrHungUp is returned when the agent ended the connection without an answer.
var ErrHungUp = errors.New("the agent hung up: it stops, or has too many connections")

// refusal is the error in an answer.
func refusal(r *http.Response) error {
	var p problem
	if json.NewDecoder(io.LimitReader(r.Body, lineBytesMax)).Decode(&p) != nil || p.Error == "" {
		p.Error = r.Status
	}
	for _, known := range []error{ErrAlone, ErrNoUplink, machine.ErrNoMachine} {
		if p.Error == known.Error() {
			return known
		}
	}
	return errors.New(p.Error)
}
