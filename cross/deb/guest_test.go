//go:build deb

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"cistern/cross/vm"
	"cistern/firmware/image"
)

const (
	mqttPort = 1883
	bootMax  = 4 * time.Minute // a busy computer emulates slowly; 20 s are usual
	stepMax  = 3 * time.Minute
)

// guest is a running Debian.
type guest struct {
	t  *testing.T
	vm *vm.VM
}

func startGuest(t *testing.T) *guest {
	t.Helper()
	parts, err := image.FindParts(t.Context(), filepath.Join("..", ".."))
	must(t, err)
	disk := debianDisk(t)
	ports, err := vm.FreePorts(shellPort, mqttPort)
	must(t, err)
	start := time.Now()
	m, err := vm.Start(t.Context(), vm.Config{
		Machine: vm.Virt, Kernel: filepath.Join(parts.Kernel, "vmlinuz"), Disk: disk, Forward: ports,
		CommandLine: "root=/dev/vda rw console=ttyAMA0 ip=dhcp loglevel=3",
	})
	must(t, err)
	t.Cleanup(m.Kill)
	g := &guest{t, m}
	_, err = m.Await(within(t, bootMax), shellReady)
	must(t, err)
	g.run("systemctl is-system-running --wait || systemctl --failed")
	t.Logf("Debian is up after %s", time.Since(start).Round(time.Second))
	return g
}

// run runs a script and returns what it printed. It has to succeed.
func (g *guest) run(script string) string {
	g.t.Helper()
	out, err := g.try(script)
	if err != nil {
		g.t.Fatalf("%s\n%v\n%s\n%s", script, err, out, g.vm.Tail())
	}
	return out
}

// refused runs a script that has to fail.
func (g *guest) refused(script string) string {
	g.t.Helper()
	out, err := g.try(script)
	if err == nil {
		g.t.Fatalf("%s\nshould fail, and printed\n%s", script, out)
	}
	return out
}

// outputMax is what is kept of a script's output.
const outputMax = 1 << 20

func (g *guest) try(script string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(g.t.Context(), stepMax, fmt.Errorf("not within %s", stepMax))
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", g.vm.Address(shellPort))
	if err != nil {
		return "", err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if _, err := fmt.Fprintf(c, "(\nset -eu\n%s\n) </dev/null 2>&1\necho \"exit $?\"\n", script); err != nil {
		return "", err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	all, err := io.ReadAll(io.LimitReader(c, outputMax))
	out, code, ended := bytes.Cut(all, []byte("exit "))
	if i := bytes.LastIndex(all, []byte("exit ")); ended {
		out, code = all[:i], all[i+len("exit "):]
	}
	switch {
	case !ended:
		return string(all), errors.Join(errors.New("the shell did not say how it ended"), err, context.Cause(ctx))
	case string(code) != "0\n":
		return string(out), fmt.Errorf("exit status %s", bytes.TrimSpace(code))
	}
	return string(out), nil
}

// has runs a script, whose output has to hold what is wanted.
func (g *guest) has(script string, want ...string) string {
	g.t.Helper()
	out := g.run(script)
	for _, w := range want {
		if !strings.Contains(out, w) {
			g.t.Errorf("%s\nprinted\n%s\nwithout %q", script, out, w)
		}
	}
	return out
}

// publish sends messages from..to-1 with QoS 1, and returns when all are
// confirmed.
func (g *guest) publish(password string, from, to int) {
	g.t.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + g.vm.Address(mqttPort)).
		SetClientID("press-7").SetUsername("press-7").SetPassword(password).SetConnectTimeout(time.Minute).SetAutoReconnect(false))
	wait := func(what string, token mqtt.Token) {
		g.t.Helper()
		if !token.WaitTimeout(time.Minute) {
			g.t.Fatalf("%s: no answer within a minute\n%s", what, g.run("journalctl -u cistern -n 30"))
		}
		if err := token.Error(); err != nil {
			g.t.Fatalf("%s: %v\n%s", what, err, g.run("journalctl -u cistern -n 30"))
		}
	}
	wait("CONNECT", c.Connect())
	defer c.Disconnect(0)
	for n := from; n < to; n++ {
		wait("PUBLISH", c.Publish("plant/press", 1, false, fmt.Sprintf(`{"n":%d}`, n)))
	}
}

// stored checks that the records 0..n-1 are there, once and in order.
func (g *guest) stored(n int) {
	g.t.Helper()
	out := g.run("cistern tail 'plant/#' --config /etc/cistern/cistern.toml --from beginning --follow=false")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != n {
		g.t.Fatalf("%d records, want %d:\n%s", len(lines), n, out)
	}
	for i, l := range lines {
		if !strings.HasSuffix(l, fmt.Sprintf(`{"n":%d}`, i)) {
			g.t.Fatalf("record %d is %q", i, l)
		}
	}
}
