package board

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/gpio"
)

// watcher is a lamp that notes when it was on.
type watcher struct {
	mu      sync.Mutex
	began   time.Time
	changes []string
	on      bool
	fails   error
}

func (w *watcher) set(on bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if on != w.on {
		w.on = on
		w.changes = append(w.changes, fmt.Sprintf("%v@%v", on, time.Since(w.began)))
	}
	return w.fails
}

func (w *watcher) close() error { return nil }

// seen tells what was seen since the last time.
func (w *watcher) seen() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := strings.Join(w.changes, " ")
	w.began, w.changes = time.Now(), nil
	return s
}

func (w *watcher) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fails = err
}

// shining runs a board whose only part is a lamp.
func shining(t *testing.T) (*Board, *watcher, *fakes) {
	f, w := newFakes(t), &watcher{began: time.Now()}
	b := f.runWith(Config{}, func(b *Board) { b.lamp = w })
	return b, w, f
}

func TestShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w, _ := shining(t)
		time.Sleep(time.Minute)
		if s := w.seen(); s != "" {
			t.Errorf("before anything is shown: %s", s)
		}
		b.Show(Parked)
		time.Sleep(3 * time.Second)
		if s := w.seen(); s != "true@0s false@200ms true@500ms false@700ms true@2.2s false@2.4s true@2.7s false@2.9s" {
			t.Errorf("parked: %s", s)
		}
		b.Show(Parked) // it goes on as it was
		time.Sleep(1300 * ms)
		if s := w.seen(); s != "" {
			t.Errorf("the pause after it: %s", s)
		}
		b.Show(Failing) // at once
		time.Sleep(400 * ms)
		if s := w.seen(); s != "true@0s false@150ms true@300ms" {
			t.Errorf("failing: %s", s)
		}
		b.Show(Pattern(99))
		b.Show(Pattern(-1))
		if b.Shown() != Failing {
			t.Errorf("it shows %v", b.Shown())
		}
		b.Show(Dark)
		time.Sleep(time.Hour)
		if s := w.seen(); s != "false@0s" {
			t.Errorf("dark: %s", s)
		}
		b.Show(OK)
		time.Sleep(3500 * ms)
		if s := w.seen(); s != "true@0s false@2.85s true@3s" {
			t.Errorf("ok: %s", s)
		}
	})
}

func TestLampFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w, f := shining(t)
		b.Show(NoUplink)
		w.fail(errors.New("no such device"))
		time.Sleep(10 * time.Second)
		if p := b.Problems(); len(p) != 1 || p[0].Part != "led" {
			t.Errorf("problems: %v", p)
		}
		w.fail(nil)
		time.Sleep(10 * time.Second)
		if p := b.Problems(); p != nil {
			t.Errorf("problems: %v", p)
		}
		f.logging.Lock()
		defer f.logging.Unlock()
		if n := strings.Count(f.log.String(), "\n"); n != 2 { // not one each time
			t.Errorf("the log:\n%s", f.log.String())
		}
	})
}

func TestLampAtALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		b := f.run(Config{LED: &LED{Line: &Line{Chip: "fake", Offset: 2, ActiveLow: true}}})
		if f.pin(2).Read() != gpio.High {
			t.Error("it is on before anything is shown")
		}
		b.Show(ShuttingDown)
		time.Sleep(500 * ms)
		if f.pin(2).Read() != gpio.Low {
			t.Error("it is not on")
		}
		time.Sleep(time.Second)
		if f.pin(2).Read() != gpio.High {
			t.Error("it is not off")
		}
	})
}

func TestNamedLamp(t *testing.T) {
	root := machine(t, "pi3")
	const dir = "sys/class/leds/ACT/"
	l, err := openNamed(root, "ACT")
	if err != nil {
		t.Fatal(err)
	}
	// Sysfs would say "[none] …" from now on; a plain file has what was written.
	if s := said(t, root, dir+"trigger") + said(t, root, dir+"brightness"); s != "none0" {
		t.Errorf("trigger and brightness: %s", s)
	}
	for on, want := range map[bool]string{true: "255", false: "0"} {
		if err := l.set(on); err != nil {
			t.Fatal(err)
		}
		if s := said(t, root, dir+"brightness"); s != want {
			t.Errorf("on %v: %s", on, s)
		}
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	if s := said(t, root, dir+"trigger"); s != "mmc0" {
		t.Errorf("its trigger afterwards: %s", s)
	}
}

func TestLampThatNothingDrove(t *testing.T) {
	root := machine(t, "empty")
	put(t, root, "sys/class/leds/user/trigger", "[none] timer\n")
	put(t, root, "sys/class/leds/user/brightness", "3\n")
	put(t, root, "sys/class/leds/user/max_brightness", "7\n")
	l, err := openNamed(root, "user")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.set(true), l.close()); err != nil {
		t.Fatal(err)
	}
	if s := said(t, root, "sys/class/leds/user/brightness"); s != "3" {
		t.Errorf("its brightness afterwards: %s", s)
	}
}

func TestLampsThatAreNone(t *testing.T) {
	for file, content := range map[string]string{"max_brightness": "0", "brightness": strings.Repeat("9", ValueBytesMax+1), "trigger": ""} {
		root := machine(t, "pi3")
		path := filepath.Join(root, "sys/class/leds/ACT", file)
		if content == "" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else {
			put(t, root, "sys/class/leds/ACT/"+file, content)
		}
		if _, err := openNamed(root, "ACT"); err == nil {
			t.Errorf("%s is %q: no error", file, content)
		}
	}
	// One that went away must not become a file.
	root := machine(t, "pi3")
	l, err := openNamed(root, "ACT")
	if err != nil {
		t.Fatal(err)
	}
	brightness := filepath.Join(root, "sys/class/leds/ACT/brightness")
	if err := os.Remove(brightness); err != nil {
		t.Fatal(err)
	}
	if err := l.set(true); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its brightness: %v", err)
	}
	if _, err := os.Stat(brightness); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
}

// What nobody can tell apart is not a pattern.
func TestPatterns(t *testing.T) {
	all := Patterns()
	if len(all) != int(SafeToCut)+1 {
		t.Fatalf("%d patterns", len(all))
	}
	looks, names := map[string]Pattern{}, map[string]Pattern{}
	for i, s := range all {
		if s.Pattern != Pattern(i) || s.Name == "" || s.Looks == "" || s.Pattern.String() != s.Name {
			t.Errorf("%d: %+v", i, s)
		}
		var whole time.Duration
		for _, step := range s.Steps {
			whole += step
			if step < wink {
				t.Errorf("%s: %v is too short to be seen", s.Name, step)
			}
		}
		if whole > 6*time.Second || len(s.Steps)%2 != 0 {
			t.Errorf("%s: %v, %d steps", s.Name, whole, len(s.Steps))
		}
		look := rough(s.Steps)
		if other, taken := looks[look]; taken {
			t.Errorf("%v and %v look the same: %s", other, s.Pattern, look)
		}
		looks[look] = s.Pattern
		names[s.Name] = s.Pattern
	}
	if len(names) != len(all) {
		t.Errorf("names: %v", names)
	}
	if Pattern(-1).String() != "no pattern" {
		t.Error(Pattern(-1))
	}
}

// rough is what a person remembers of a pattern: short, middling or long times
// of light and darkness.
func rough(steps []time.Duration) string {
	var words []string
	for i, s := range steps {
		length := "short"
		switch {
		case s > 2*time.Second:
			length = "long"
		case s > 500*ms:
			length = "middling"
		}
		words = append(words, fmt.Sprintf("%s %v", length, i%2 == 0))
	}
	if len(words) == 4 && slices.Equal(words[:2], words[2:]) {
		words = words[:2]
	}
	return strings.Join(words, ", ")
}
