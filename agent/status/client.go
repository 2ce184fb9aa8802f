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
	"syscall"
)

// ErrNotRunning is returned when no agent listens on the socket.
var ErrNotRunning = errors.New("no agent is running there")

// Client asks a running agent over its unix socket.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns a client for the agent behind that socket. It connects
// with each question.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: readTimeout}).DialContext(ctx, "unix", socket)
	}
	return &Client{socket, http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
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
		return nil, fmt.Errorf("status from %s: %w", c.socket, err)
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
			return fmt.Errorf("tail from %s: %w", c.socket, err)
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
	resp, err := c.http.Do(r)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%s: %w", c.socket, ErrNotRunning)
	}
	return resp, err
}

// refusal is the error in an answer.
func refusal(r *http.Response) error {
	var p problem
	if json.NewDecoder(io.LimitReader(r.Body, lineBytesMax)).Decode(&p) != nil || p.Error == "" {
		p.Error = r.Status
	}
	for _, known := range []error{ErrAlone, ErrNoUplink} {
		if p.Error == known.Error() {
			return known
		}
	}
	return errors.New(p.Error)
}
