//go:build deb

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"cistern/cross/load"
)

// toolMax ends what hangs: a Debian is fetched and unpacked in half a minute, on a
// busy computer and a slow line in several.
const toolMax = 10 * time.Minute

// tool runs a program and returns what it printed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx := within(t, toolMax)
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v %v\n%s", name, args, err, context.Cause(ctx), out)
	}
	return string(out)
}

// Two runs over the same source make the same bytes.
func TestReproducible(t *testing.T) {
	t.Parallel()
	again := t.TempDir()
	must(t, run(within(t, 5*time.Minute), []string{"-out", again, "-version", older, "-arch", "arm64"}))
	first, err := os.ReadFile(debs[older+" arm64"])
	must(t, err)
	second, err := os.ReadFile(filepath.Join(again, filepath.Base(debs[older+" arm64"])))
	must(t, err)
	if !bytes.Equal(first, second) {
		t.Errorf("two builds differ: %d and %d bytes", len(first), len(second))
	}
}

func TestContents(t *testing.T) {
	deb := debs[older+" armhf"]
	if members := strings.Fields(tool(t, "ar", "t", deb)); members[len(members)-1] != "data.tar.xz" {
		t.Errorf("%v: Debian 11 reads xz, and no zstd", members)
	}
	if got := tool(t, "dpkg-deb", "-f", deb, "Package", "Version", "Architecture"); got != "Package: cistern\nVersion: 1.0.0\nArchitecture: armhf\n" {
		t.Errorf("control: %s", got)
	}
	list := tool(t, "dpkg-deb", "-c", deb)
	for _, want := range []string{
		"-rwxr-xr-x root/root ", "/usr/bin/cistern\n", "/lib/systemd/system/cistern.service\n", "/usr/lib/sysusers.d/cistern.conf\n",
		"./etc/cistern/cistern.toml\n", "/man1/cistern.1.gz\n", "/man1/cistern-site-init.1.gz\n", "/man5/cistern.toml.5.gz\n",
		"/completions/cistern\n", "/_cistern\n", "/cistern.fish\n", "/examples/gpio.conf\n", "/doc/cistern/copyright\n",
		"/doc/cistern/licences.txt\n",
	} {
		if !strings.Contains(list, want) {
			t.Errorf("%q is not in the package:\n%s", want, list)
		}
	}
	root := t.TempDir()
	tool(t, "dpkg-deb", "-x", deb, root)
	licences, err := os.ReadFile(filepath.Join(root, "usr/share/doc/cistern/licences.txt"))
	must(t, err)
	for _, want := range []string{"cistern " + older + " is under Apache-2.0:", "\nstd 1.", "(EPL-2.0", "Permission is hereby granted, free of charge"} {
		if !strings.Contains(string(licences), want) {
			t.Errorf("the licences don't have %q", want)
		}
	}
	control := t.TempDir()
	tool(t, "dpkg-deb", "-e", deb, control)
	conffiles, err := os.ReadFile(filepath.Join(control, "conffiles"))
	must(t, err)
	if string(conffiles) != "/etc/cistern/cistern.toml\n" {
		t.Errorf("conffiles: %q", conffiles)
	}
}

// The armhf package runs on the oldest Raspberry Pi: an ARM1176 has no
// instruction of ARMv7.
func TestARMv6(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	tool(t, "dpkg-deb", "-x", debs[older+" armhf"], root)
	cistern := filepath.Join(root, "usr/bin/cistern")
	emulated := func(args ...string) *exec.Cmd {
		c := exec.CommandContext(within(t, 2*time.Minute), "qemu-arm-static", append([]string{cistern}, args...)...)
		c.Env = append(os.Environ(), "QEMU_CPU=arm1176")
		return c
	}
	// The emulator itself crashes now and then.
	try := func(args ...string) ([]byte, error) {
		out, err := emulated(args...).CombinedOutput()
		if err != nil && bytes.Contains(out, []byte("qemu: uncaught target signal")) && !bytes.Contains(out, []byte("panic:")) {
			t.Logf("once more: %s", out)
			out, err = emulated(args...).CombinedOutput()
		}
		return out, err
	}
	out, err := try("version")
	if err != nil || !strings.Contains(string(out), " "+older) || !strings.Contains(string(out), "linux/arm ") {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := try("config", "check", filepath.Join(root, "etc/cistern/cistern.toml")); err != nil {
		t.Errorf("the packaged configuration: %v\n%s", err, out)
	}

	config := filepath.Join(root, "test.toml")
	must(t, os.WriteFile(config, []byte("gateway.data = 'd'\n[[mqtt.listener]]\naddress = '127.0.0.1:0'\n"), 0o600))
	agent := emulated("run", "--config", config)
	log, err := agent.StderrPipe()
	must(t, err)
	must(t, agent.Start())
	must(t, load.AwaitConfirm(within(t, time.Minute), readyAt(t, log)))
	must(t, agent.Process.Signal(syscall.SIGTERM))
	if err := agent.Wait(); err != nil {
		t.Errorf("the stop: %v", err)
	}
}

// readyAt reads an agent's log until it is ready and returns where it listens.
func readyAt(t *testing.T, log io.Reader) string {
	t.Helper()
	var all strings.Builder
	for lines := bufio.NewScanner(log); lines.Scan(); {
		fmt.Fprintln(&all, lines.Text())
		if m := readyLine.FindStringSubmatch(lines.Text()); m != nil {
			go func() { _, _ = io.Copy(io.Discard, log) }()
			return m[1]
		}
	}
	t.Fatalf("the agent was never ready:\n%s", all.String())
	return ""
}

var readyLine = regexp.MustCompile(`msg=ready .* mqtt=(\S+)`)

func TestDebianVersions(t *testing.T) {
	inOrder := []string{"4e06b50", "v1.0.0-rc1", "v1.0.0", "v1.0.0-3-gabc", "v1.0.0-12-gabc-dirty", "1.0.1"}
	var before string
	for _, v := range inOrder {
		d, err := debianVersion(v, 1_700_000_000)
		must(t, err)
		if before != "" {
			tool(t, "dpkg", "--compare-versions", before, "lt", d)
		}
		before = d
	}
	early, _ := debianVersion("fffffff", 1_700_000_000)
	late, _ := debianVersion("0000000", 1_700_000_001)
	tool(t, "dpkg", "--compare-versions", early, "lt", late)
	if v, err := debianVersion("a b", 0); err == nil {
		t.Errorf("a version with a space became %q", v)
	}
}
