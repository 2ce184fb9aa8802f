package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cistern/firmware/machine"
	"cistern/firmware/slot"
)

func TestParseOptions(t *testing.T) {
	o, wrong := parseOptions("console=ttyAMA0 panic=10 cistern.board=qemu cistern.slot=b cistern.try=1 cistern.trial=20 cistern.watchdog=off quiet\n")
	want := options{board: slot.BoardQemu, slot: slot.B, try: true, trial: 20 * time.Second}
	if len(wrong) > 0 || o != want {
		t.Errorf("got %+v, %v", o, wrong)
	}
	plain := options{board: slot.BoardPi, trial: trialDefault, watchdog: true}
	if o, wrong := parseOptions(""); len(wrong) > 0 || o != plain {
		t.Errorf("nothing said: %+v, %v", o, wrong)
	}
	for _, word := range []string{"cistern.board=x86", "cistern.slot=c", "cistern.trial=0", "cistern.trial=1e9", "cistern.trial=-5", "cistern.watchdog", "cistern.tyr=1"} {
		if o, wrong := parseOptions(word); len(wrong) != 1 || !strings.Contains(wrong[0].Error(), word) || o != plain {
			t.Errorf("%s: %+v, %v", word, o, wrong)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add("cistern.board=qemu cistern.trial=30 =")
	f.Fuzz(func(t *testing.T, line string) {
		o, _ := parseOptions(line)
		if o.trial < trialMin || o.trial > trialMax || o.board != slot.BoardPi && o.board != slot.BoardQemu {
			t.Errorf("%q: %+v", line, o)
		}
	})
}

// put makes a file of the kernel's below a root.
func put(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestHostnameIsTheBoards(t *testing.T) {
	root := t.TempDir()
	if got := hostname(root, machine.Config{}); got != "cistern" {
		t.Errorf("nothing known: %s", got)
	}
	put(t, root, netDir+"/eth0/device/uevent", "")
	put(t, root, netDir+"/eth0/address", "DC:A6:32:01:02:03\n")
	put(t, root, netDir+"/lo/address", "00:00:00:00:00:00\n")
	if got := hostname(root, machine.Config{}); got != "cistern-32010203" {
		t.Errorf("from the network: %s", got)
	}
	put(t, root, serialFile, "10000000a1b2C3d4\x00")
	if got := hostname(root, machine.Config{}); got != "cistern-a1b2c3d4" {
		t.Errorf("from the serial: %s", got)
	}
	if got := hostname(root, machine.Config{Hostname: "press-7"}); got != "press-7" {
		t.Errorf("configured: %s", got)
	}
}

func TestBootedAsksWhoKnows(t *testing.T) {
	root := t.TempDir()
	s, try, err := booted(root, options{}, slot.B)
	if s != slot.B || try || err == nil {
		t.Errorf("nobody knows: %s, %t, %v", s, try, err)
	}
	put(t, root, bootloaderDir+"/partition", "\x00\x00\x00\x03")
	put(t, root, bootloaderDir+"/tryboot", "\x00\x00\x00\x01")
	if s, try, err := booted(root, options{}, slot.A); s != slot.B || !try || err != nil {
		t.Errorf("a Pi's firmware: %s, %t, %v", s, try, err)
	}
	for _, name := range []string{slot.A.String(), slot.B.String()} {
		s, _ := slot.Parse(name)
		r := filepath.Join(root, name)
		put(t, r, bootloaderDir+"/partition", string([]byte{0, 0, 0, byte(s.Partition())}))
		if is, try, err := booted(r, options{}, slot.A); is != s || try != (s == slot.B) || err != nil {
			t.Errorf("a firmware that says nothing of tries, slot %s: %s, %t, %v", s, is, try, err)
		}
	}
	if s, try, err := booted(root, options{slot: slot.A}, slot.B); s != slot.A || try || err != nil {
		t.Errorf("the command line: %s, %t, %v", s, try, err)
	}
	put(t, root, bootloaderDir+"/partition", "\x00\x00\x00\x07")
	if s, try, err := booted(root, options{}, slot.A); s != slot.A || try || err == nil {
		t.Errorf("a partition that is no slot: %s, %t, %v", s, try, err)
	}
}

func TestRunningWithoutAnAutoboot(t *testing.T) {
	_, image := systemImage(t, "v1")
	d := freshCard(t, image)
	if _, err := d.WriteAt(make([]byte, slot.SectorBytes), slot.BootStart); err != nil {
		t.Fatal(err)
	}
	r, err := running(t.TempDir(), options{slot: slot.B, try: true}, d, slot.Release{})
	if err == nil || r.Slot != slot.B || r.OnTrial() {
		t.Errorf("got %+v, %v: what runs, runs, and nothing is switched", r, err)
	}
	if r, err := running(t.TempDir(), options{}, d, slot.Release{}); err == nil || r.Slot != 0 {
		t.Errorf("nobody knows: %+v, %v", r, err)
	}
}

// A firmware that does not say what it booted: the slots say which of them it was.
func TestRunningByWhatTheSlotsHold(t *testing.T) {
	one, image := systemImage(t, "v1")
	two, second := systemImage(t, "v2")
	d := freshCard(t, image)
	r, err := running(t.TempDir(), options{}, d, one)
	if err == nil || r.Slot != slot.A || r.OnTrial() {
		t.Errorf("the same in both: %+v, %v", r, err)
	}
	if _, err := slot.B.On(d).WriteAt(second, 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		release slot.Release
		slot    slot.Slot
	}{{one, slot.A}, {two, slot.B}, {slot.Release{Build: "another"}, slot.A}} {
		r, err := running(t.TempDir(), options{}, d, c.release)
		if err == nil || r.Slot != c.slot || r.OnTrial() != (c.slot == slot.B) {
			t.Errorf("%s runs: %+v, %v", c.release.Build, r, err)
		}
	}
}

// fake answers orders.
type fake struct {
	said string
	err  error
}

func (f *fake) State() *machine.State { return &machine.State{Version: "v1", Slot: "a"} }
func (f *fake) Update(_ context.Context, r io.Reader) (machine.WrittenUpdate, error) {
	n, err := io.Copy(io.Discard, r)
	f.said = fmt.Sprint("update ", n)
	return machine.WrittenUpdate{Version: "v2"}, errors.Join(err, f.err)
}
func (f *fake) Reboot(try bool) error { f.said = fmt.Sprint("reboot ", try); return f.err }
func (f *fake) Poweroff() error       { f.said = "poweroff"; return f.err }
func (f *fake) Good() error           { f.said = "good"; return f.err }

func TestHandlerAnswersTheContract(t *testing.T) {
	f := new(fake)
	s := httptest.NewServer(handler(f))
	defer s.Close()
	for _, c := range []struct {
		method, path, body string
		err                error
		code               int
		says, ordered      string
	}{
		{"GET", machine.PathMachine, "", nil, 200, `"version":"v1"`, ""},
		{"POST", machine.PathUpdate, "12345", nil, 200, `"version":"v2"`, "update 5"},
		{"POST", machine.PathUpdate, "12345", slot.ErrSignature, 400, slot.ErrSignature.Error(), "update 5"},
		{"POST", machine.PathReboot, `{"try":true}`, nil, 200, "{}", "reboot true"},
		{"POST", machine.PathReboot, "", nil, 200, "{}", "reboot false"},
		{"POST", machine.PathReboot, "{", nil, 400, "can't be read", ""},
		{"POST", machine.PathReboot, "", errEnding, 409, "stopping", "reboot false"},
		{"POST", machine.PathPoweroff, "", nil, 200, "{}", "poweroff"},
		{"POST", machine.PathGood, "", nil, 200, "{}", "good"},
		{"GET", machine.PathGood, "", nil, 404, "nothing that can be asked", ""},
		{"GET", "/v2/x", "", nil, 404, "nothing that can be asked", ""},
	} {
		f.said, f.err = "", c.err
		r, err := http.NewRequest(c.method, s.URL+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.code || !strings.Contains(string(text), c.says) || f.said != c.ordered {
			t.Errorf("%s %s: %d %s, ordered %q", c.method, c.path, resp.StatusCode, text, f.said)
		}
		if !json.Valid(text) {
			t.Errorf("%s %s: no JSON: %s", c.method, c.path, text)
		}
	}
}

func TestConsoleNeverWaits(t *testing.T) {
	out, in := io.Pipe()
	c := newConsole(in)
	for i := range 3 * linesQueued { // nobody reads yet
		c.say("line %d", i)
	}
	got := make(chan string)
	go func() { text, _ := io.ReadAll(out); got <- string(text) }()
	c.drain(time.Minute)
	c.say("%s", strings.Repeat("x", 2*lineBytesMax))
	c.drain(time.Minute)
	in.Close()
	text := <-got
	if !strings.Contains(text, "cistern: line 0\n") || !strings.Contains(text, "lines left out") || strings.Contains(text, "line 700\n") {
		t.Errorf("got %d bytes: %.300s", len(text), text)
	}
	for line := range strings.SplitSeq(text, "\n") {
		if len(line) > lineBytesMax+len("…") {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}

func TestTeeKeepsAllAndShowsSome(t *testing.T) {
	var screen, log bytes.Buffer
	c := newConsole(&screen)
	now := time.Unix(1000, 0)
	l := &tee{ring: &log, console: c, now: func() time.Time { return now }}
	l.read(strings.NewReader(strings.Repeat("noise\n", agentLines+7)+"last words\n\n"), "")
	now = now.Add(agentPeriod)
	l.read(strings.NewReader("later"), "agent: ")
	c.drain(time.Minute)
	if n := strings.Count(log.String(), "\n"); n != agentLines+9 {
		t.Errorf("the log has %d lines", n)
	}
	text := screen.String()
	if strings.Count(text, "noise") != agentLines || !strings.HasSuffix(text, "(9 lines of the log left out here, the last was:)\nlast words\nagent: later\n") {
		t.Errorf("the console has %s", text)
	}
	if l.lastLine() != "later" {
		t.Errorf("last: %q", l.lastLine())
	}
}

func TestRingKeepsTheNewest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	r := &ring{path: path, half: 100}
	for i := range 100 {
		if _, err := fmt.Fprintf(r, "line %02d\n", i); err != nil {
			t.Fatal(err)
		}
	}
	var all []byte
	for _, p := range []string{path + ".1", path} {
		b, err := os.ReadFile(p)
		if err != nil || len(b) > 100 {
			t.Fatalf("%s: %d bytes, %v", p, len(b), err)
		}
		all = append(all, b...)
	}
	if !strings.HasSuffix(string(all), "line 98\nline 99\n") || len(all) < 100 {
		t.Errorf("kept %q", all)
	}
}
