//go:build image

package board

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cistern/cross/vm"
	report "cistern/firmware/board"
	"cistern/firmware/image"
)

// patience is for a machine in an emulator on a machine with other things to do.
const patience = 100 * time.Second

var consoles = map[string]string{vm.Virt: "ttyAMA0", vm.Pi3: "ttyAMA1,115200"}

// start starts a machine whose first process is the guest.
func start(t *testing.T, c vm.Config, words string) *vm.VM {
	t.Helper()
	parts, err := image.FindParts(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	guest := filepath.Join(dir, "guest")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", guest, "./guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the guest: %v\n%s", err, out)
	}
	program, err := os.ReadFile(guest)
	if err != nil {
		t.Fatal(err)
	}
	c.Kernel, c.Initrd = filepath.Join(parts.Kernel, "vmlinuz"), filepath.Join(dir, "initramfs")
	if c.DeviceTree != "" {
		c.DeviceTree = filepath.Join(parts.Kernel, c.DeviceTree)
	}
	var archive bytes.Buffer
	device := fs.ModeDevice | fs.ModeCharDevice
	err = image.WriteCPIO(&archive, []image.Node{
		{Path: "dev", Mode: fs.ModeDir | 0o755}, {Path: "proc", Mode: fs.ModeDir | 0o755}, {Path: "sys", Mode: fs.ModeDir | 0o755},
		{Path: "dev/console", Mode: device | 0o600, Major: 5, Minor: 1}, {Path: "dev/null", Mode: device | 0o666, Major: 1, Minor: 3},
		{Path: "init", Mode: 0o755, Content: program},
	}, 0)
	if err == nil {
		err = os.WriteFile(c.Initrd, archive.Bytes(), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.CommandLine = "console=" + consoles[c.Machine] + " panic=10 loglevel=3 rdinit=/init " + words
	m, err := vm.Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Kill()
		if t.Failed() {
			t.Log(m.Tail())
		}
	})
	return m
}

// says waits for a line of the console and wants pieces of text in it.
func says(t *testing.T, m *vm.VM, line string, pieces ...string) string {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	text, err := m.Await(ctx, line)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pieces {
		if !strings.Contains(text, p) {
			t.Errorf("%q is not in: %s", p, text)
		}
	}
	return text
}

func found(t *testing.T, m *vm.VM) *report.Report {
	t.Helper()
	_, text, _ := strings.Cut(says(t, m, "REPORT {"), "REPORT ")
	r := new(report.Report)
	if err := json.Unmarshal([]byte(strings.TrimSpace(text)), r); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return r
}

// The emulator lets its button go after a tenth of a second of this computer's time.
// A guest that had no processor for that long finds both edges at once, and takes the
// line for one that is back before it held still: rightly.
const (
	pressesMax = 10
	pressTime  = 3 * time.Second
)

// press presses the button, and once more as long as the guest does not say a line. It
// tells how often.
func press(t *testing.T, m *vm.VM, line string) (presses int) {
	t.Helper()
	for {
		if err := m.Press(); err != nil {
			t.Fatal(err)
		}
		presses++
		ctx, stop := context.WithTimeout(t.Context(), pressTime)
		_, err := m.Await(ctx, line)
		stop()
		if err == nil || presses == pressesMax {
			return presses
		}
	}
}

// The button that the emulator presses for a tenth of a second is the power-fail
// line here: active, and back. The chip has two names, as on a Pi 5.
func TestLines(t *testing.T) {
	m := start(t, vm.Config{Machine: vm.Virt, Watchdog: true}, "CHIP=9030000.pl061 LINE=3 UNBIND=gpio-keys TWICE=yes DOG=yes")
	r := found(t, m)
	if len(r.Chips) != 1 || r.Chips[0] != (report.Chip{Device: "gpiochip0", Label: "9030000.pl061", Lines: 8}) {
		t.Errorf("chips: %+v", r.Chips)
	}
	if len(r.Watchdogs) != 1 || r.Watchdogs[0].Active || r.Watchdogs[0].Identity == "" {
		t.Errorf("watchdogs: %+v", r.Watchdogs)
	}
	says(t, m, "OPENED", "problems []")
	says(t, m, "STDIN", "<nil>")
	says(t, m, "AGAIN", "line 3 of 9030000.pl061: the line is in use by")
	says(t, m, "WAITING")
	presses := press(t, m, "EVENT power failed")
	says(t, m, "EVENT power failed", "want power failed")
	says(t, m, "EVENT power back", "want power back")
	stopped := says(t, m, "STOPPED", "<nil>")
	_, count, _ := strings.Cut(stopped, "SpuriousEdges:")
	var spurious int
	if _, err := fmt.Sscan(count, &spurious); err != nil || spurious > 2*(presses-1) {
		t.Errorf("after %d presses: %s: %v", presses, stopped, err)
	}
	says(t, m, "DOG", "i6300ESB", " 10s,", "somebody else feeds it")
	says(t, m, "CLOSED", "active: false")
	says(t, m, "HUNGRY")
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	if end, err := m.AwaitEnd(ctx); err != nil || end != vm.Watchdog {
		t.Errorf("it ended: %s, %v", end, err)
	}
}

func TestRaspberryPi3(t *testing.T) {
	m := start(t, vm.Config{Machine: vm.Pi3, DeviceTree: "bcm2710-rpi-3-b.dtb"}, "CHIP=pinctrl-bcm2835 LINE=17 LED=default-on")
	r := found(t, m)
	if !strings.HasPrefix(r.Machine.Model, "Raspberry Pi 3 Model B") {
		t.Errorf("machine: %+v", r.Machine)
	}
	says(t, m, "OPENED", "problems []")
	says(t, m, "BLINKS", "true")
	says(t, m, "LED trigger", "[default-on]")
	says(t, m, "DONE")
}
