package status

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"cistern/firmware/machine"
	"cistern/firmware/machine/machinetest"
	"cistern/firmware/slot"
)

// image is the machine under a gateway, as the agent hands it through.
type image struct{ *machine.Client }

func (i image) Machine(ctx context.Context) (*Machine, error) {
	s, err := i.State(ctx)
	if err != nil {
		return nil, err
	}
	return &Machine{State: *s, Missing: []string{"a partition"}}, nil
}

// startImage is a gateway on a machine, asked from afar.
func startImage(t *testing.T, m *machinetest.Machine) (*Client, *far) {
	t.Helper()
	m.Release = slot.Release{Version: "1.0", Commit: "c0", Board: slot.BoardQemu, Build: "build-1.0"}
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	f := startFar(t, func(s *Server) { s.Machine = image{machine.NewClient(m.Socket())} })
	return f.client(t, f.key), f
}

// openUpdate is an update of that many bytes.
func openUpdate(t *testing.T, bytes int) (*os.File, int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "u")
	if _, err := machinetest.WriteUpdate(path, slot.Release{Version: "1.1", Commit: "c1", Board: slot.BoardQemu, Build: "build-1.1"}, bytes); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return f, info.Size()
}

func TestUpdateGoesThrough(t *testing.T) {
	m := &machinetest.Machine{}
	c, _ := startImage(t, m)
	s, err := c.Machine(t.Context())
	if err != nil || s.Version != "1.0" || !slices.Equal(s.Missing, []string{"a partition"}) {
		t.Fatalf("%+v, %v", s, err)
	}
	f, size := openUpdate(t, 4<<20)
	w, err := c.Update(t.Context(), f, size)
	if err != nil || w.Version != "1.1" || w.Slot != "b" {
		t.Fatalf("%+v, %v", w, err)
	}
	if err := c.Reboot(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	await(t, "it is on trial", func() bool { return m.State().Trial })
	if got := fmt.Sprint(m.Asked()); got != "[update 1.1 reboot try]" {
		t.Error(got)
	}
}

// Whatever is wrong is said in the machine's words, at once and also while the
// file is still on its way.
func TestUpdateThatIsRefused(t *testing.T) {
	m := &machinetest.Machine{Refuse: func(slot.Manifest) error { return slot.ErrSignature }}
	c, f := startImage(t, m)
	u, size := openUpdate(t, 32<<20)
	if _, err := c.Update(t.Context(), u, size); err == nil || !strings.Contains(err.Error(), slot.ErrSignature.Error()) {
		t.Errorf("a wrong signature: %v", err)
	}
	_, err := c.Update(t.Context(), iotest.ErrReader(errors.New("not one byte of it is read")), machine.UpdateBytesMax+1)
	if err == nil || !strings.Contains(err.Error(), "updates have 134217728 at most") {
		t.Errorf("too large: %v", err)
	}
	f.Machine = nil
	if _, err := c.Update(t.Context(), iotest.ErrReader(errors.New("not one byte of it is read")), 1<<20); !errors.Is(err, machine.ErrNoMachine) {
		t.Errorf("no machine: %v", err)
	}
	if _, err := c.Machine(t.Context()); !errors.Is(err, machine.ErrNoMachine) {
		t.Errorf("no machine: %v", err)
	}
}

// slow gives a file's beginning, and the rest when it is let.
type slow struct {
	io.Reader
	rest <-chan struct{}
	fail error // in place of the rest
	n    int
}

func (s *slow) Read(b []byte) (int, error) {
	const begin = 64 << 10
	if s.n >= begin {
		<-s.rest
		if s.fail != nil {
			return 0, s.fail
		}
		return s.Reader.Read(b)
	}
	n, err := s.Reader.Read(b[:min(len(b), begin-s.n)])
	s.n += n
	return n, err
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: never", what)
		}
	}
}

// One at a time; and one whose client goes away is broken off, so that the next
// can come.
func TestUpdatesOneAtATime(t *testing.T) {
	m := &machinetest.Machine{}
	c, f := startImage(t, m)
	u, size := openUpdate(t, 1<<20)
	rest, done := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := c.Update(ctx, &slow{Reader: u, rest: rest, fail: context.Canceled}, size)
		done <- err
	}()
	await(t, "the first is being written", func() bool { return m.Writing() == 1 })
	second, size := openUpdate(t, 1<<20)
	if _, err := c.Update(t.Context(), second, size); err == nil || !strings.Contains(err.Error(), "another update is being written") {
		t.Errorf("a second one: %v", err)
	}
	cancel()
	close(rest) // net/http waits for the end of a read
	if err := <-done; err == nil {
		t.Error("broken off, and no error")
	}
	await(t, "it is broken off at the machine", func() bool { return m.Writing() == 0 && len(f.updates) == 0 })
	if s := m.State(); s.Other.Version != "" || s.LastUpdate != nil {
		t.Errorf("%+v", s)
	}
	third, size := openUpdate(t, 1<<20) // the client has closed the other ones
	if _, err := c.Update(t.Context(), third, size); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

// A file that can't be read to its end at the operator's leaves nothing behind.
func TestUpdateWhoseFileFails(t *testing.T) {
	m := &machinetest.Machine{}
	c, _ := startImage(t, m)
	u, size := openUpdate(t, 1<<20)
	now := make(chan struct{})
	close(now)
	if _, err := c.Update(t.Context(), &slow{Reader: u, rest: now, fail: errors.New("the stick is gone")}, size); err == nil || !strings.Contains(err.Error(), "the stick is gone") {
		t.Errorf("%v", err)
	}
	await(t, "it is broken off", func() bool { return m.Writing() == 0 && slices.Contains(m.Asked(), "update broken off") })
}

// On what others can reach there is no machine to be had.
func TestMachineIsForOperators(t *testing.T) {
	s, _ := start(t, example())
	for _, path := range []string{"/machine", "/update", "/reboot"} {
		if code, _ := get(t, "http://"+s.Addr().String()+path); code != 404 {
			t.Errorf("%s: %d", path, code)
		}
	}
}

func TestJudgeMachine(t *testing.T) {
	var h Health
	m := &Machine{}
	d := &Document{Machine: m}
	for _, step := range []struct {
		change func()
		want   []Code
		detail string
	}{
		{func() {}, nil, ""},
		{func() { m.Trial, m.Version, m.Missing = true, "1.1", []string{"a", "b"} }, []Code{UpdateOnTrial}, "version 1.1; still missing: a, b"},
		{func() { m.Missing = nil }, []Code{UpdateOnTrial}, "version 1.1; still missing: nothing: it is about to be called good"},
		{func() {
			m.Trial, m.LastUpdate = false, &machine.Update{Version: "1.1", Result: machine.RolledBack, Why: "it fell over"}
		}, []Code{UpdateRolledBack}, "version 1.1: it fell over"},
		{func() { m.LastUpdate.Result = machine.Written }, nil, ""},
		{func() { m.LastUpdate.Result = machine.Good }, nil, ""},
	} {
		step.change()
		JudgeMachine(&h, d)
		if got := codes(&h); !slices.Equal(got, step.want) {
			t.Errorf("%v, want %v", got, step.want)
		} else if len(got) > 0 && h.Active()[0].Detail != step.detail {
			t.Errorf("%q, want %q", h.Active()[0].Detail, step.detail)
		}
	}
	JudgeMachine(&h, &Document{}) // of a gateway that runs from no image
}
