package board

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"periph.io/x/conn/v3/gpio"
)

// EventsPending is how many events wait for whoever reads them. What more there
// is waits in the lines themselves.
const EventsPending = 4

// EventKind says what happened.
type EventKind string

const (
	PowerFailed EventKind = "power failed" // or was away already when the board was opened
	PowerBack   EventKind = "power back"
	ButtonHeld  EventKind = "button held" // it is told while the button is still down
)

// Event is something that happened on a line.
type Event struct {
	Kind EventKind
	At   time.Time // when the line left its level, before it was known to hold still
}

// Problem is a part of the board that was asked for and doesn't work.
type Problem struct {
	Part string // "power fail", "button", "led"
	Err  error
}

// Stats counts what was not told as an event.
type Stats struct {
	SpuriousEdges int64 // of the power-fail line: it was back before it held still
	ShortPresses  int64 // of the button: let go before Hold
}

// pin is a line that was opened.
type pin interface {
	gpio.PinIn
	Out(gpio.Level) error
}

// opener opens lines; the machine's own, or a test's. The function that comes
// with a pin lets it go.
type opener func(Line) (pin, func(), error)

// Board is the parts of the board that are used.
type Board struct {
	log           *slog.Logger
	power, button *input // nil: not used, or a Problem
	hold          time.Duration
	lamp          lamp // nil likewise
	events        chan Event
	changed       chan struct{} // the pattern is another
	shortPresses  atomic.Int64
	release       []func()

	mu       sync.Mutex
	pattern  Pattern
	problems map[string]error
}

// Open opens the parts that are configured. What doesn't work becomes a Problem
// and a warning; only a configuration that no board could have is an error.
//
// Call it before anything else opens files: what opens GPIO chips for us closes
// a file too many at times (gpio_linux.go).
func Open(c Config, log *slog.Logger) (*Board, error) { return open(c, log, openLine) }

func open(c Config, log *slog.Logger, lines opener) (*Board, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	b := &Board{
		log:      log,
		events:   make(chan Event, EventsPending),
		changed:  make(chan struct{}, 1),
		problems: map[string]error{},
	}
	if p := c.PowerFail; p != nil {
		b.power = b.openInput("power fail", p.Line, orDefault(p.Settle, SettleDefault), lines)
	}
	if p := c.Button; p != nil {
		b.hold = orDefault(p.Hold, HoldDefault)
		b.button = b.openInput("button", p.Line, SettleDefault, lines)
	}
	if c.LED != nil {
		b.openLamp(*c.LED, c.Root, lines)
	}
	return b, nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func (b *Board) openInput(part string, l Line, settle time.Duration, lines opener) *input {
	p, release, err := lines(l)
	if err == nil {
		b.release = append(b.release, release)
		err = p.In(pulls[l.Pull], gpio.BothEdges)
	}
	if err != nil {
		b.problem(part, named(l.String(), inUse(err)))
		return nil
	}
	return &input{pin: p, activeLow: l.ActiveLow, settle: settle, problem: func(err error) { b.problem(part, named(l.String(), err)) }}
}

var pulls = map[Pull]gpio.Pull{PullNone: gpio.PullNoChange, PullUp: gpio.PullUp, PullDown: gpio.PullDown}

func (b *Board) openLamp(l LED, root string, lines opener) {
	var err error
	if l.Line == nil {
		b.lamp, err = openNamed(root, l.Name)
	} else {
		b.lamp, err = openLineLamp(*l.Line, lines)
	}
	if err != nil {
		b.lamp = nil
		b.problem("led", err)
	}
}

// problem notes how a part is, and says so when that is another than before.
func (b *Board) problem(part string, err error) {
	b.mu.Lock()
	was := b.problems[part]
	if err == nil {
		delete(b.problems, part)
	} else {
		b.problems[part] = err
	}
	b.mu.Unlock()
	switch {
	case err != nil && (was == nil || was.Error() != err.Error()):
		b.log.Warn("a part of the board does not work", "part", part, "error", err)
	case err == nil && was != nil:
		b.log.Info("a part of the board works again", "part", part)
	}
}

// Problems tells which parts do not work now, by name.
func (b *Board) Problems() []Problem {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []Problem
	for part, err := range b.problems {
		all = append(all, Problem{part, err})
	}
	slices.SortFunc(all, func(x, y Problem) int { return strings.Compare(x.Part, y.Part) })
	return all
}

// Stats counts since Open.
func (b *Board) Stats() Stats {
	s := Stats{ShortPresses: b.shortPresses.Load()}
	if b.power != nil {
		s.SpuriousEdges = b.power.spurious.Load()
	}
	return s
}

// Events tells what happened while Run runs. It is never closed.
func (b *Board) Events() <-chan Event { return b.events }

// Run watches the lines and shows the pattern until ctx is done.
func (b *Board) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	for _, in := range []*input{b.power, b.button} {
		if in != nil {
			// A wait that Halt misses ends within a second by itself.
			defer context.AfterFunc(ctx, func() { _ = in.pin.Halt() })()
		}
	}
	if b.power != nil {
		parts.Go(func() { b.watchPower(ctx) })
	}
	if b.button != nil {
		parts.Go(func() { b.watchButton(ctx) })
	}
	if b.lamp != nil {
		parts.Go(func() { b.play(ctx) })
	}
	<-ctx.Done()
	parts.Wait()
	return nil
}

func (b *Board) tell(ctx context.Context, e Event) {
	select {
	case b.events <- e:
	case <-ctx.Done():
	}
}

// Close gives the LED back to what drove it and lets the lines go. It is called
// after Run has returned.
func (b *Board) Close() error {
	var err error
	if b.lamp != nil {
		err = b.lamp.close()
	}
	for _, release := range b.release {
		release()
	}
	b.lamp, b.release = nil, nil
	return named("led", err)
}
