// Package rig runs the real thing on one machine and keeps the books: the
// gateway and the central cluster as processes that can be killed, an uplink
// that can be cut, devices that publish over MQTT, and a ledger that knows what
// was confirmed to them and judges what arrived at the centre.
//
//	devices ──MQTT──▶ Gateway ──Kafka──▶ Uplink ──▶ Central
//	   │                                               │
//	   └──── what was confirmed ──▶ Ledger ◀── what is there
//
// The demo, the end-to-end tests and the benchmarks are built from these
// parts. Nothing here knows how the gateway works inside.
package rig

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"cistern/cross/build"
	"cistern/gossip/porttest"
)

// Build compiles the main packages named by their import paths into dir, static
// and stripped: the agent the way it ships, others the way Go compiles them.
// module is the folder of the module that knows them.
func Build(ctx context.Context, module, dir string, packages ...string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	flags := []string{"-trimpath"}
	if slices.Contains(packages, build.Agent) {
		flags = build.Flags()
	}
	args := slices.Concat([]string{"build", "-C", module}, flags, []string{"-ldflags=-s -w", "-o", dir + string(filepath.Separator)}, packages)
	compile := exec.CommandContext(ctx, "go", args...)
	compile.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := compile.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %v: %w\n%s", packages, err, out)
	}
	return nil
}

// FreeAddress returns a loopback address that nobody else takes while this process
// runs. A gateway that is killed and started again has to come back on the address
// its devices know, so the port is chosen here and not by the kernel.
func FreeAddress() (string, error) { return freeAddress("127.0.0.1") }

func freeAddress(host string) (string, error) {
	port, err := FreePort()
	return net.JoinHostPort(host, strconv.Itoa(port)), err
}

// claims are held until the process ends: one that is forgotten is let go.
var claims struct {
	sync.Mutex
	release []func()
}

// FreePort is FreeAddress for who knows the host.
func FreePort() (int, error) {
	port, release, err := porttest.Claim()
	if err != nil {
		return 0, err
	}
	claims.Lock()
	defer claims.Unlock()
	claims.release = append(claims.release, release)
	return port, nil
}
