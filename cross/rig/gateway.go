package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"cistern/agent/status"
)

// readyTimeout is for a gateway that has to open a store on a busy machine.
const readyTimeout = 30 * time.Second

// Gateway is a cistern that can be started, killed and started again, with its
// own folder and an address that stays.
type Gateway struct {
	Name    string
	Address string // where devices connect
	Data    string // its data folder

	// Within comes before the program's own command line, like "ip netns exec
	// NAME". It has to become the program, not start it.
	Within []string

	binary  string
	dir     string // configuration and socket
	process *Process
	client  *status.Client

	mu     sync.Mutex
	now    life // as it was seen last
	former life // as it was seen last of the process before
}

// life is a gateway's process as its site knows it: each start is another one.
type life struct {
	id          int32
	incarnation uint64
}

// NewGateway writes the configuration of a gateway into dir, which should have
// a short name: a unix socket's path may have 107 bytes. Its data goes to data,
// which may be on a disk that fails. uplink is where it finds Kafka, empty for
// none; more is TOML that goes below.
func NewGateway(binary, dir, data, uplink, more string) (*Gateway, error) {
	return newGateway(binary, "rig", "127.0.0.1", dir, data, uplink, more)
}

func newGateway(binary, name, host, dir, data, uplink, more string) (*Gateway, error) {
	address, err := freeAddress(host)
	if err != nil {
		return nil, err
	}
	return NewGatewayAt(binary, name, address, dir, data, uplink, more)
}

// NewGatewayAt is NewGateway with a name, and an address where devices connect.
func NewGatewayAt(binary, name, address, dir, data, uplink, more string) (*Gateway, error) {
	g := &Gateway{Name: name, Address: address, Data: data, binary: binary, dir: dir}
	g.client = status.NewClient(g.socket())
	var c strings.Builder
	fmt.Fprintf(&c, "[gateway]\nname = %q\ndata = %q\n\n", g.Name, g.Data)
	fmt.Fprintf(&c, "[[mqtt.listener]]\naddress = %q\nanonymous = true\n\n", address)
	fmt.Fprintf(&c, "[status]\nsocket = %q\n\n", g.socket())
	if uplink != "" {
		fmt.Fprintf(&c, "[uplink.kafka]\nbrokers = [%q]\ncreate_topics = true\n\n", uplink)
	}
	c.WriteString(more)
	return g, os.WriteFile(g.config(), []byte(c.String()), 0o644)
}

func (g *Gateway) socket() string { return filepath.Join(g.dir, "s") }
func (g *Gateway) config() string { return filepath.Join(g.dir, "cistern.toml") }

// Start runs the gateway and returns when it answers.
func (g *Gateway) Start(ctx context.Context) error {
	line := append(slices.Clone(g.Within), g.binary, "run", "--config", g.config())
	p, err := Start(nil, line[0], line[1:]...)
	if err != nil {
		return err
	}
	g.process = p
	g.begin()
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		if _, err = g.Status(ctx); err == nil {
			return nil
		}
		select {
		case <-p.Exited():
			return fmt.Errorf("the gateway ended while starting: %w\n%s", p.err, p.Output())
		case <-ctx.Done():
			p.Kill()
			return fmt.Errorf("the gateway does not answer: %w\n%s", err, p.Output())
		case <-time.After(2 * time.Millisecond): // another process: nothing to wait on
		}
	}
}

// Kill is kill -9.
func (g *Gateway) Kill() {
	if g.process != nil {
		g.process.Kill()
	}
}

// Terminate is what systemd does to stop it; the error carries its last words.
func (g *Gateway) Terminate() error { return g.process.Stop(syscall.SIGTERM) }

// Process is the running gateway.
func (g *Gateway) Process() *Process { return g.process }

// Status asks the gateway how it is.
func (g *Gateway) Status(ctx context.Context) (*status.Document, error) {
	d, err := g.client.Status(ctx)
	if err == nil {
		g.see(d)
	}
	return d, err
}

// Run runs another command of the program on this gateway's configuration, like
// "check", and returns what it printed.
func (g *Gateway) Run(args ...string) (string, error) {
	return command(g.binary, append(args, "--config", g.config())...)
}

// AwaitDrained returns when nothing waits for the uplink any more. progress,
// when not nil, is shown every status on the way.
func (g *Gateway) AwaitDrained(ctx context.Context, progress func(*status.Document)) error {
	var last *status.Document
	for {
		d, err := g.Status(ctx)
		if err == nil {
			last = d
			if progress != nil {
				progress(d)
			}
			if d.BacklogTotal().Records == 0 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the backlog is not drained: %w; last status: %s", ctx.Err(), brief(last))
		case <-g.process.Exited():
			return errors.New("the gateway ended while draining:\n" + g.process.Output())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// brief is what a reader of a failed test wants to know of a status.
func brief(d *status.Document) string {
	if d == nil {
		return "none"
	}
	b := fmt.Sprintf("backlog %d records, uplink %s %s", d.BacklogTotal().Records, d.Uplink.State, d.Uplink.Error)
	for _, h := range d.Health {
		b += fmt.Sprintf("; %s: %s", h.Code, h.Detail)
	}
	if d.Site != nil {
		b += fmt.Sprintf("; quorum led by %q in term %d", d.Site.Quorum.Leader, d.Site.Quorum.Term)
		if m := d.Site.Self(); m != nil {
			b += fmt.Sprintf(", registered in incarnation %d, fenced %t", m.Incarnation, m.Fenced)
		}
	}
	for _, s := range d.Streams {
		for _, p := range s.Partitions {
			b += fmt.Sprintf("; %s/%d: %d drained of %d, %s %s", s.Name, p.Partition, p.Drained, p.HighWatermark, p.Drain, p.Error)
		}
	}
	return b
}
