package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"cistern/cross/rig"
)

// server is one kind of server: how it is configured and started.
type server struct {
	name   string
	binary string
	// config returns the text of its configuration file.
	config func(address, dir string) string
	// args returns its command line, given the name of that file.
	args func(file string) []string
}

const natsPackage = "github.com/nats-io/nats-server/v2"

// servers builds or finds every server; one that is missing is an error, since
// a comparison that leaves somebody out says nothing.
func servers(ctx context.Context, dir string) ([]server, error) {
	if err := rig.Build(ctx, ".", dir, natsPackage); err != nil {
		return nil, err
	}
	if err := rig.Build(ctx, "../..", dir, "cistern/agent/cistern"); err != nil {
		return nil, err
	}
	mosquitto, err := exec.LookPath("mosquitto")
	if err != nil {
		if mosquitto, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			return nil, fmt.Errorf("mosquitto is not installed (Debian: apt-get install mosquitto): %w", err)
		}
	}
	nats := filepath.Join(dir, "nats-server")
	config := func(file string) []string { return []string{"-c", file} }
	return []server{
		{"cistern", filepath.Join(dir, "cistern"), cisternConfig, func(file string) []string { return []string{"run", "--config", file} }},
		{"nats-always", nats, natsConfig("always"), config},
		{"nats-default", nats, natsConfig("2m"), config},
		{"mosquitto", mosquitto, mosquittoConfig, config},
	}, nil
}

func cisternConfig(address, dir string) string {
	return fmt.Sprintf(`[gateway]
data = %q
[[mqtt.listener]]
address = %q
anonymous = true
[[stream]]
name = "mqtt"
commit_window = "0s" # as fast as the device: nobody else has a write budget
[log]
level = "warn"
`, filepath.Join(dir, "data"), address)
}

func natsConfig(interval string) func(address, dir string) string {
	return func(address, dir string) string {
		host, port, _ := net.SplitHostPort(address)
		return fmt.Sprintf(`server_name: bench
listen: "127.0.0.1:-1"
jetstream { store_dir: %q, sync_interval: %s }
mqtt { host: %q, port: %s }
`, filepath.Join(dir, "data"), interval, host, port)
	}
}

func mosquittoConfig(address, _ string) string {
	host, port, _ := net.SplitHostPort(address)
	return fmt.Sprintf("listener %s %s\nallow_anonymous true\npersistence false\n", port, host)
}

// running is a server that accepts connections.
type running struct {
	*rig.Process
	address string
	dir     string
}

func (s server) start(dir string) (*running, error) {
	dir, err := os.MkdirTemp(dir, "data-")
	if err != nil {
		return nil, err
	}
	address, err := rig.FreeAddress()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "config")
	if err := os.WriteFile(file, []byte(s.config(address, dir)), 0o644); err != nil {
		return nil, err
	}
	p, err := rig.Start(nil, s.binary, s.args(file)...)
	if err != nil {
		return nil, err
	}
	r := &running{p, address, dir}
	if err := r.awaitListening(); err != nil {
		r.stop()
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return r, nil
}

func (r *running) awaitListening() error {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		select {
		case <-r.Exited():
			return fmt.Errorf("it ended at once:\n%s", r.Output())
		case <-time.After(20 * time.Millisecond):
		}
		if c, err := net.Dial("tcp", r.address); err == nil {
			return c.Close()
		}
	}
	return fmt.Errorf("nothing listens on %s:\n%s", r.address, r.Output())
}

func (r *running) stop() {
	r.Kill()
	_ = os.RemoveAll(r.dir)
}
