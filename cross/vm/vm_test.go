package vm

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cistern/firmware/slot"
)

// pretend puts a shell script where the emulator is looked for. File 3 is
// where the machine's console goes; stdin and stdout speak QMP.
func pretend(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	text := "#!/bin/sh\nread greeting\n" + script
	if err := os.WriteFile(filepath.Join(dir, emulator), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func start(t *testing.T, script string) *VM {
	t.Helper()
	pretend(t, script)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	v, err := Start(ctx, Config{Machine: Virt, Kernel: "k"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Kill)
	return v
}

func TestTellsHowAMachineEnds(t *testing.T) {
	shutdown := func(reason string) string {
		return `echo '{"event":"SHUTDOWN","data":{"guest":true,"reason":"` + reason + `"}}'`
	}
	for script, want := range map[string]End{
		shutdown("guest-reset"):    Reset,
		shutdown("guest-shutdown"): PowerOff,
		shutdown("guest-panic"):    Panicked,
		`echo '{"event":"WATCHDOG","data":{"action":"reset"}}'; ` + shutdown("guest-reset"): Watchdog,
		`echo 'not JSON'; echo '{"return":{}}'; exit 1`:                                     Killed,
	} {
		v := start(t, script)
		got, err := v.AwaitEnd(t.Context())
		if err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", script, got, err, want)
		}
	}
}

func TestFollowsTheConsoleAndKills(t *testing.T) {
	v := start(t, `echo trouble >&2; echo hello from $$ >&3; exec sleep 600`)
	line, err := v.Await(t.Context(), "hello")
	if err != nil || !strings.HasPrefix(line, "hello from") {
		t.Fatalf("%q, %v", line, err)
	}
	if v.How() != PoweredOn || !v.Said("hello") || v.Said("goodbye") {
		t.Errorf("%s; the console is %q", v.How(), v.Output())
	}
	v.Kill()
	if v.How() != Killed {
		t.Errorf("after Kill: %s", v.How())
	}
	if _, err := v.Await(t.Context(), "goodbye"); err == nil || !strings.Contains(err.Error(), "hello from") || !strings.Contains(err.Error(), "trouble") {
		t.Errorf("the error does not say what happened: %v", err)
	}
}

func TestSaysWhatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Start(t.Context(), Config{Machine: Virt, Kernel: "k"})
	if err == nil || !strings.Contains(err.Error(), "apt-get install qemu-system-arm") {
		t.Errorf("without an emulator: %v", err)
	}
	for name, c := range map[string]Config{
		"no machine":         {Kernel: "k"},
		"no kernel":          {Machine: Virt},
		"no device tree":     {Machine: Pi3, Kernel: "k"},
		"a watchdog on a Pi": {Machine: Pi3, Kernel: "k", DeviceTree: "d", Watchdog: true},
		"a comma":            {Machine: Virt, Kernel: "k", Disk: "a,readonly=on"},
	} {
		if err := c.complete(); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// What the tests of the image rely on: a disk with a cache that is flushed, no
// reboot past the boot loader, ports on loopback only.
func TestArguments(t *testing.T) {
	forward, err := FreePorts(1883, 80)
	if err != nil {
		t.Fatal(err)
	}
	if forward[1883] == forward[80] {
		t.Errorf("two ports in one place: %v", forward)
	}
	c := Config{Machine: Virt, Kernel: "k", Disk: "nbd+unix:///?socket=s", Forward: forward, Watchdog: true}
	if err := c.complete(); err != nil {
		t.Fatal(err)
	}
	a := c.arguments()
	for _, want := range []string{
		"-no-reboot", "i6300esb", "format=raw,cache=writeback,file=nbd+unix:///?socket=s,if=virtio",
		"user,id=net,hostfwd=tcp:" + forward[80] + "-:80,hostfwd=tcp:" + forward[1883] + "-:1883",
	} {
		if !slices.Contains(a, want) {
			t.Errorf("no %q in %q", want, a)
		}
	}
}

func TestCommandLine(t *testing.T) {
	b := Board{Append: "cistern.watchdog=off"}
	for _, c := range []struct {
		board, line, want string
		try               bool
	}{
		{slot.BoardQemu, "console=ttyAMA0 panic=10\n", "console=ttyAMA0 panic=10 loglevel=3 cistern.slot=b cistern.try=1 cistern.watchdog=off", true},
		{slot.BoardPi, "console=serial0,115200 console=tty1  panic=10", "console=ttyAMA1,115200 panic=10 loglevel=3 cistern.slot=b cistern.watchdog=off", false},
	} {
		got := b.commandLine(c.line, Boot{slot.B, c.try, slot.Release{Board: c.board}})
		if got != c.want {
			t.Errorf("%q\nwant %q", got, c.want)
		}
	}
}
