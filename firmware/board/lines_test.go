package board

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"
)

const ms = time.Millisecond

// fakes are the lines of a chip. They are made within a test's bubble, so that
// time passes only while everybody waits.
type fakes struct {
	*testing.T
	pins     map[int]*gpiotest.Pin
	released int
	log      strings.Builder
	logging  sync.Mutex
}

func newFakes(t *testing.T) *fakes { return &fakes{T: t, pins: map[int]*gpiotest.Pin{}} }

func (f *fakes) pin(offset int) *gpiotest.Pin {
	if f.pins[offset] == nil {
		f.pins[offset] = &gpiotest.Pin{N: "fake", Num: offset, EdgesChan: make(chan gpio.Level)}
	}
	return f.pins[offset]
}

func (f *fakes) open(l Line) (pin, func(), error) {
	if l.Chip != "fake" {
		return nil, nil, errors.New("there is no such chip; there are: fake")
	}
	return f.pin(l.Offset), func() { f.released++ }, nil
}

func (f *fakes) Write(p []byte) (int, error) {
	f.logging.Lock()
	defer f.logging.Unlock()
	return f.log.Write(p)
}

// run opens a board with these lines and lets it run until the test ends.
func (f *fakes) run(c Config) *Board { return f.runWith(c, func(*Board) {}) }

func (f *fakes) runWith(c Config, with func(*Board)) *Board {
	f.Helper()
	b, err := open(c, slog.New(slog.NewTextHandler(f, nil)), f.open)
	if err != nil {
		f.Fatal(err)
	}
	with(b)
	ctx, stop := context.WithCancel(f.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	f.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			f.Error(err)
		}
		if err := b.Close(); err != nil {
			f.Error(err)
		}
		if f.released != len(f.pins) {
			f.Errorf("%d of %d lines were let go", f.released, len(f.pins))
		}
	})
	synctest.Wait()
	return b
}

// level moves a line, with the edge that comes of it.
func (f *fakes) level(offset int, l gpio.Level) {
	f.pin(offset).EdgesChan <- l
	synctest.Wait()
}

// quiet wants no event for that long.
func quiet(t *testing.T, b *Board, d time.Duration) {
	t.Helper()
	select {
	case e := <-b.Events():
		t.Fatalf("event: %v", e)
	case <-time.After(d):
	}
}

// next wants an event, of that time, after exactly so long.
func next(t *testing.T, b *Board, kind EventKind, at time.Time, after time.Duration) {
	t.Helper()
	began := time.Now()
	select {
	case e := <-b.Events():
		if e.Kind != kind || !e.At.Equal(at) || time.Since(began) != after {
			t.Fatalf("%q of %v after %v, want %q of %v after %v", e.Kind, e.At, time.Since(began), kind, at, after)
		}
	case <-time.After(time.Hour):
		t.Fatalf("no %q within an hour", kind)
	}
}

func powerFail() Config {
	return Config{PowerFail: &PowerFail{Line: Line{Chip: "fake", Offset: 4, ActiveLow: true, Pull: PullUp}}}
}

func TestPowerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		b := f.run(powerFail())
		quiet(t, b, time.Minute)
		at := time.Now()
		f.level(4, gpio.Low)
		next(t, b, PowerFailed, at, SettleDefault)
		quiet(t, b, time.Minute)
		at = time.Now()
		f.level(4, gpio.High)
		next(t, b, PowerBack, at, SettleDefault)
		if n := b.Stats().SpuriousEdges; n != 0 || b.Problems() != nil {
			t.Errorf("%d spurious edges, %v", n, b.Problems())
		}
	})
}

func TestActiveHigh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFakes(t), powerFail()
		c.PowerFail.ActiveLow, c.PowerFail.Pull, c.PowerFail.Settle = false, PullDown, 5*ms
		b := f.run(c)
		if p := f.pin(4).Pull(); p != gpio.PullDown {
			t.Errorf("its pull is %v", p)
		}
		at := time.Now()
		f.level(4, gpio.High)
		next(t, b, PowerFailed, at, 5*ms)
	})
}

// A contact that bounces is one event, of the time of its first edge.
func TestBounces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		b := f.run(powerFail())
		at := time.Now()
		for i := range 5 {
			f.level(4, i%2 == 1)
			time.Sleep(20 * ms)
		}
		next(t, b, PowerFailed, at, SettleDefault-20*ms)
		quiet(t, b, time.Minute)
		if n := b.Stats().SpuriousEdges; n != 0 {
			t.Errorf("%d spurious edges", n)
		}
	})
}

// A line that was back before it held still has told nothing.
func TestGlitches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		b := f.run(powerFail())
		for range 3 {
			f.level(4, gpio.Low)
			time.Sleep(SettleDefault - ms)
			f.level(4, gpio.High)
			quiet(t, b, 10*time.Second)
		}
		if n := b.Stats().SpuriousEdges; n != 6 {
			t.Errorf("%d spurious edges, want 6", n)
		}
	})
}

// The kernel's queue of edges can run over.
func TestLostEdge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		b := f.run(powerFail())
		quiet(t, b, 700*ms)
		p := f.pin(4)
		p.Lock()
		p.L = gpio.Low
		p.Unlock()
		next(t, b, PowerFailed, time.Now().Add(300*ms), 300*ms+SettleDefault)
	})
}

func TestPowerIsAwayAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFakes(t), powerFail()
		c.PowerFail.Pull = PullNone // the fake is low then
		at := time.Now()
		b := f.run(c)
		next(t, b, PowerFailed, at, SettleDefault)
	})
}

func TestRestlessLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		b := f.run(powerFail())
		for i := range 250 { // five seconds of hum
			f.level(4, i%2 == 1)
			time.Sleep(20 * ms)
		}
		problems := b.Problems()
		if len(problems) != 1 || problems[0].Part != "power fail" || !errors.Is(problems[0].Err, errRestless) {
			t.Fatalf("problems: %v", problems)
		}
		quiet(t, b, 10*time.Second)
		if n := b.Stats().SpuriousEdges; n != 250 {
			t.Errorf("%d spurious edges", n)
		}
		if b.Problems() != nil {
			t.Errorf("now that it holds still: %v", b.Problems())
		}
		contains(t, f.log.String(), "never holds still")
		contains(t, f.log.String(), "works again")
	})
}

// dead is a line whose driver answers nothing any more.
type dead struct {
	*gpiotest.Pin
	waits atomic.Int64
}

func (d *dead) WaitForEdge(time.Duration) bool { d.waits.Add(1); return false }

func TestDeadDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dead{Pin: &gpiotest.Pin{EdgesChan: make(chan gpio.Level)}}
		b, err := open(powerFail(), slog.New(slog.DiscardHandler), func(Line) (pin, func(), error) { return d, func() {}, nil })
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		go func() {
			time.Sleep(30*time.Second + 500*ms)
			_ = d.Out(gpio.Low)
		}()
		told := make(chan Event, 1)
		go func() { told <- <-b.Events() }()
		if err := b.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if e := <-told; e.Kind != PowerFailed {
			t.Errorf("event %v", e)
		}
		if n := d.waits.Load(); n < 55 || n > 65 {
			t.Errorf("it was waited for %d times in a minute", n)
		}
	})
}

// hum is a line with an edge whenever one looks.
type hum struct{ dead }

func (h *hum) WaitForEdge(time.Duration) bool { h.waits.Add(1); return true }

// A line that is connected to nothing must not keep a processor busy.
func TestHummingLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hum{dead{Pin: &gpiotest.Pin{EdgesChan: make(chan gpio.Level)}}}
		h.L = gpio.High
		c := powerFail()
		c.PowerFail.Pull = PullNone
		b, err := open(c, slog.New(slog.DiscardHandler), func(Line) (pin, func(), error) { return h, func() {}, nil })
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		if err := b.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if n, most := h.waits.Load(), int64(10*time.Second/SettleDefault*(edgesKept+1)); n > most {
			t.Errorf("it was looked at %d times in ten seconds, more than %d", n, most)
		}
		if p := b.Problems(); len(p) != 1 || !errors.Is(p[0].Err, errRestless) {
			t.Errorf("problems: %v", p)
		}
	})
}

// Nobody reads: the board waits, and ends all the same.
func TestNobodyReadsEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		b := f.run(powerFail())
		for i := range EventsPending + 1 {
			f.level(4, i%2 == 1)
			time.Sleep(time.Second)
		}
		if n := len(b.events); n != EventsPending {
			t.Errorf("%d events wait", n)
		}
	})
}

func button() Config {
	return Config{Button: &Button{Line: Line{Chip: "fake", Offset: 7, ActiveLow: true, Pull: PullUp}, Hold: 2 * time.Second}}
}

func TestButton(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		b := f.run(button())
		for range 3 { // pressed, not held
			f.level(7, gpio.Low)
			quiet(t, b, 1900*ms)
			f.level(7, gpio.High)
			quiet(t, b, 10*time.Second)
		}
		at := time.Now()
		f.level(7, gpio.Low)
		next(t, b, ButtonHeld, at, 2*time.Second) // while it is down still
		quiet(t, b, time.Minute)                  // once
		f.level(7, gpio.High)
		quiet(t, b, time.Minute)
		at = time.Now()
		f.level(7, gpio.Low)
		next(t, b, ButtonHeld, at, 2*time.Second)
		if n := b.Stats().ShortPresses; n != 3 {
			t.Errorf("%d short presses", n)
		}
	})
}

// A button that is stuck, or wired the other way, must not switch the gateway
// off whenever it starts.
func TestButtonIsDownAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFakes(t), button()
		c.Button.Pull = PullNone
		b := f.run(c)
		quiet(t, b, time.Hour)
		if p := b.Problems(); len(p) != 1 || p[0].Part != "button" {
			t.Fatalf("problems: %v", p)
		}
		f.level(7, gpio.High)
		quiet(t, b, time.Second)
		if p := b.Problems(); p != nil {
			t.Fatalf("problems: %v", p)
		}
		at := time.Now()
		f.level(7, gpio.Low)
		next(t, b, ButtonHeld, at, 2*time.Second)
	})
}

func TestWhatIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFakes(t), powerFail()
		c.Root = machine(t, "pi3")
		c.PowerFail.Chip = "pinctrl-rp1"
		c.Button = button().Button
		c.LED = &LED{Name: "led0"}
		b := f.run(c)
		problems := b.Problems()
		if len(problems) != 2 || problems[0].Part != "led" || problems[1].Part != "power fail" {
			t.Fatalf("problems: %v", problems)
		}
		contains(t, problems[0].Err.Error(), `there is no LED "led0"`)
		contains(t, problems[0].Err.Error(), "there are: ACT, default-on")
		contains(t, problems[1].Err.Error(), "line 4 of pinctrl-rp1: there is no such chip; there are: fake")
		b.Show(OK)
		f.level(7, gpio.Low)
		at := time.Now()
		next(t, b, ButtonHeld, at, 2*time.Second) // what is there works
	})
}

// Here there is no such chip, whether there are others or not.
func TestOpenHere(t *testing.T) {
	c := powerFail()
	c.PowerFail.Chip = "no-such-chip"
	b, err := Open(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Problems()) != 1 {
		t.Errorf("problems: %v", b.Problems())
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
