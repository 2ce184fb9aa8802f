package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// ErrNoMachine is returned where no image's init could be asked.
var ErrNoMachine = errors.New("this gateway does not run from a Cistern image; update its package instead")

// Limits of a client.
const (
	dialTimeout    = 5 * time.Second
	askTimeout     = 30 * time.Second // of everything but an update, which ends with its context
	answerBytesMax = 1 << 20
)

// Client asks the machine for what the agent has no rights to do.
type Client struct {
	http http.Client
}

// New returns a client for the machine that the environment names, or
// ErrNoMachine.
func New() (*Client, error) {
	socket := os.Getenv(Env)
	if socket == "" {
		return nil, ErrNoMachine
	}
	return NewClient(socket), nil
}

// NewClient returns a client for the machine behind that socket. It connects
// with each question.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", socket)
	}
	return &Client{http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// State asks how the machine is.
func (c *Client) State(ctx context.Context) (*State, error) {
	s := new(State)
	return s, c.ask(ctx, http.MethodGet, PathMachine, nil, s)
}

// Update writes an update file to the other slot and verifies it there. Nothing
// is booted: Reboot with try does that.
func (c *Client) Update(ctx context.Context, file io.Reader) (WrittenUpdate, error) {
	var w WrittenUpdate
	return w, c.send(ctx, http.MethodPost, PathUpdate, file, &w)
}

// Reboot stops the agent and starts the machine again; with try, once into the
// other slot.
func (c *Client) Reboot(ctx context.Context, try bool) error {
	return c.ask(ctx, http.MethodPost, PathReboot, RebootOrder{Try: try}, nil)
}

// Poweroff stops the agent and switches the machine off.
func (c *Client) Poweroff(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, PathPoweroff, nil, nil)
}

// Good ends a trial: from now on the machine boots the slot that runs. Outside a
// trial it changes nothing.
func (c *Client) Good(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, PathGood, nil, nil)
}

// ask sends a small question and decodes its answer.
func (c *Client) ask(ctx context.Context, method, path string, what, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var body io.Reader
	if what != nil {
		text, err := json.Marshal(what)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	return c.send(ctx, method, path, body, answer)
}

func (c *Client) send(ctx context.Context, method, path string, body io.Reader, answer any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://machine"+path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("asking the machine: %w", err)
	}
	defer resp.Body.Close()
	decode := json.NewDecoder(io.LimitReader(resp.Body, answerBytesMax))
	if resp.StatusCode != http.StatusOK {
		var p Refusal
		if decode.Decode(&p) != nil || p.Error == "" {
			p.Error = resp.Status
		}
		return fmt.Errorf("the machine: %s", p.Error)
	}
	if answer == nil {
		return nil
	}
	if err := decode.Decode(answer); err != nil {
		return fmt.Errorf("the machine's answer to %s: %w", path, err)
	}
	return nil
}

// Refusal is the body of every answer that is no 200.
type Refusal struct {
	Error string `json:"error"`
}
