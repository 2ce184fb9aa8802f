package watchdog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a watchdog whose driver has the faults that are set.
type fake struct {
	options       uint32
	seconds, most int
	boot          uint32
	feeds         int
	running       bool
	closed        bool
	noSupport     error
	noSet, noGet  error
	noDisarm      error
	noFeed        error
}

func (f *fake) support() (string, uint32, error) { return "fake", f.options, f.noSupport }

func (f *fake) setTimeout(seconds int) error {
	if f.noSet == nil {
		f.seconds = min(seconds, f.most)
	}
	return f.noSet
}

func (f *fake) timeout() (int, error)       { return f.seconds, f.noGet }
func (f *fake) bootStatus() (uint32, error) { return f.boot, nil }

func (f *fake) feed() error {
	f.feeds++
	return f.noFeed
}

func (f *fake) disarm() error {
	if f.noDisarm == nil {
		f.running = false
	}
	return f.noDisarm
}

func (f *fake) close() error {
	f.closed = true
	return nil
}

func newFake() *fake { return &fake{options: flagMagicClose, seconds: 60, most: 1000, running: true} }

func TestTimeouts(t *testing.T) {
	refused := errors.New("refused")
	for _, c := range []struct {
		name       string
		asked, got time.Duration
		with       func(*fake)
	}{
		{"as asked", 15 * time.Second, 15 * time.Second, func(*fake) {}},
		{"rounded up", 14100 * time.Millisecond, 15 * time.Second, func(*fake) {}},
		{"less", time.Minute, 16 * time.Second, func(f *fake) { f.most = 16 }},
		{"its own", 15 * time.Second, time.Minute, func(f *fake) { f.noSet = refused }},
		{"not told", 15 * time.Second, 15 * time.Second, func(f *fake) { f.noGet = refused }},
	} {
		f := newFake()
		c.with(f)
		w, err := start("/dev/watchdog", f, c.asked)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if w.Timeout() != c.got || f.feeds != 1 || w.Identity() != "fake" {
			t.Errorf("%s: %v, fed %d times", c.name, w.Timeout(), f.feeds)
		}
	}
}

// One that can't be used must not reset the machine half a minute later.
func TestFailedStart(t *testing.T) {
	refused := errors.New("refused")
	for name, with := range map[string]func(*fake){
		"no timeout":      func(f *fake) { f.noSet, f.noGet = refused, refused },
		"timeout of zero": func(f *fake) { f.most = 0 },
		"no feeding":      func(f *fake) { f.noFeed = refused },
	} {
		f := newFake()
		with(f)
		if _, err := start("/dev/watchdog", f, 15*time.Second); err == nil {
			t.Errorf("%s: no error", name)
		}
		if f.running || !f.closed {
			t.Errorf("%s: running %v, closed %v", name, f.running, f.closed)
		}
	}
	f := newFake()
	f.noSupport = refused
	if _, err := start("/dev/null", f, 15*time.Second); !errors.Is(err, refused) || !f.running || !f.closed {
		t.Errorf("%v: what is no watchdog was told to stop: %v", err, !f.running)
	}
}

func TestClose(t *testing.T) {
	f := newFake()
	f.boot = flagCardReset | flagPowerUnder
	w, err := start("/dev/watchdog", f, 15*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := w.BootStatus(); err != nil || b != (Boot{Reset: true, PowerFail: true, Flags: 0x30}) {
		t.Errorf("boot status %+v, %v", b, err)
	}
	var feeders sync.WaitGroup
	for range 4 {
		feeders.Go(func() {
			if err := w.Feed(); err != nil {
				t.Error(err)
			}
		})
	}
	feeders.Wait()
	if err := w.Close(); err != nil || f.running || !f.closed || f.feeds != 5 {
		t.Errorf("%v, running %v, closed %v, fed %d times", err, f.running, f.closed, f.feeds)
	}
	for what, err := range map[string]error{"feed": w.Feed(), "close": w.Close()} {
		if !errors.Is(err, ErrClosed) || !strings.HasPrefix(err.Error(), "/dev/watchdog: ") {
			t.Errorf("%s after close: %v", what, err)
		}
	}
}

func TestNoWayOut(t *testing.T) {
	for name, with := range map[string]func(*fake){
		"it refuses":       func(f *fake) { f.noDisarm = ErrKeepsRunning },
		"no magic letters": func(f *fake) { f.options = 0 },
	} {
		f := newFake()
		with(f)
		w, err := start("/dev/watchdog", f, 15*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); !errors.Is(err, ErrKeepsRunning) || !f.closed {
			t.Errorf("%s: %v, closed %v", name, err, f.closed)
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "journal")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, 15*time.Second); err == nil || !strings.Contains(err.Error(), "is no watchdog") {
		t.Errorf("a file: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file has %q now, %v", b, err)
	}
	none := filepath.Join(dir, "none")
	if _, err := Open(none, 15*time.Second); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "there is no watchdog") {
		t.Errorf("nothing: %v", err)
	}
	if _, err := os.Stat(none); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
	for _, timeout := range []time.Duration{0, -1, TimeoutMin - 1, TimeoutMax + 1} {
		if _, err := Open(file, timeout); err == nil || !strings.Contains(err.Error(), "from 2s to 10m0s") {
			t.Errorf("timeout %v: %v", timeout, err)
		}
	}
}
