package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"cistern/cross/load"
	"cistern/cross/rig"
)

// server is one kind of server, of one process or several.
type server struct {
	name   string
	binary string
	// start starts it with its data below dir, and returns when it has been
	// told to; it need not be ready.
	start func(binary, dir string) (*running, error)
}

// running are the processes of one server.
type running struct {
	dir       string
	processes []*rig.Process
	addresses []string // of each, for MQTT

	// ready, when not nil, waits for what a confirmed message does not show.
	ready func(context.Context) error
}

// run starts a server and returns when each of its processes has confirmed a
// message: it is formed, and has made what it makes for its first client.
func (s server) run(ctx context.Context, dir string) (*running, error) {
	dir, err := os.MkdirTemp(dir, "data-")
	if err != nil {
		return nil, err
	}
	r, err := s.start(s.binary, dir)
	if err == nil {
		err = r.await(ctx)
	}
	if err != nil {
		err = fmt.Errorf("starting %s: %w\n%s", s.name, err, r.output())
		r.stop()
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return r, nil
}

func (r *running) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for i, p := range r.processes {
		ctx, cancel := context.WithCancelCause(ctx)
		go func() {
			select {
			case <-p.Exited():
				cancel(fmt.Errorf("process %d ended at once", i))
			case <-ctx.Done():
			}
		}()
		err := load.AwaitConfirm(ctx, r.addresses[i])
		cancel(nil)
		if err != nil {
			return err
		}
	}
	if r.ready != nil {
		return r.ready(ctx)
	}
	return nil
}

// add starts one process more, with that configuration file in the folder.
func (r *running) add(address, binary, config string, args ...string) error {
	name := fmt.Sprintf("%s/%d.conf", r.dir, len(r.processes)+1)
	if err := os.WriteFile(name, []byte(config), 0o644); err != nil {
		return err
	}
	p, err := rig.Start(nil, binary, append(args, name)...)
	if err != nil {
		return err
	}
	r.processes, r.addresses = append(r.processes, p), append(r.addresses, address)
	return nil
}

// output is what the processes have said.
func (r *running) output() string {
	var b strings.Builder
	if r == nil {
		return ""
	}
	for i, p := range r.processes {
		if out := strings.TrimSpace(p.Output()); out != "" {
			fmt.Fprintf(&b, "process %d:\n%s\n", i+1, out)
		}
	}
	return b.String()
}

func (r *running) stop() {
	if r == nil {
		return
	}
	for _, p := range r.processes {
		p.Kill()
	}
	_ = os.RemoveAll(r.dir)
}
