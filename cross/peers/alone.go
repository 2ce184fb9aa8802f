package main

import (
	"fmt"
	"net"
	"path/filepath"
	"time"

	"cistern/cross/rig"
)

// startTimeout is for servers that have to find each other on a busy machine.
const startTimeout = 60 * time.Second

// alone starts one process with one address.
func alone(config func(address, dir string) string, args ...string) func(binary, dir string) (*running, error) {
	return func(binary, dir string) (*running, error) {
		r := &running{dir: dir}
		address, err := rig.FreeAddress()
		if err != nil {
			return r, err
		}
		return r, r.add(address, binary, config(address, dir), args...)
	}
}

var (
	cisternAlone   = alone(cisternConfig, "run", "--config")
	mosquittoAlone = alone(mosquittoConfig, "-c")
)

func natsAlone(interval string) func(binary, dir string) (*running, error) {
	return alone(func(address, dir string) string {
		host, port, _ := net.SplitHostPort(address)
		return fmt.Sprintf(`server_name: bench
listen: "127.0.0.1:-1"
jetstream { store_dir: %q, sync_interval: %s }
mqtt { host: %q, port: %s }
`, filepath.Join(dir, "data"), interval, host, port)
	}, "-c")
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

func mosquittoConfig(address, _ string) string {
	host, port, _ := net.SplitHostPort(address)
	return fmt.Sprintf("listener %s %s\nallow_anonymous true\npersistence false\n", port, host)
}
