package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"cistern/agent/config"
	"cistern/firmware/board"
	"cistern/firmware/machine"
)

const (
	// offRetry is how long it takes until a machine that could not be switched off
	// is asked again.
	offRetry = 10 * time.Second
	// settledMax is how long parts that were left behind may take to end before
	// another agent starts beside them: their own limits are shorter.
	settledMax = 10 * time.Second
)

// hardware is what a gateway uses of its board.
type hardware interface {
	Run(ctx context.Context) error
	Events() <-chan board.Event
	Show(board.Pattern)
	Shown() board.Pattern
	Problems() []board.Problem
	Close() error
}

// switcher switches the machine off.
type switcher interface {
	Poweroff(ctx context.Context) error
}

// life is what outlives an agent: the board, the watchdogs, and what is known of
// the power.
type life struct {
	config  config.Config
	version string
	log     *slog.Logger
	board   hardware
	machine switcher  // nil: this is no image, and nobody is asked
	alive   *watchdog // nil when nobody waits for signs of life
	chip    *chip     // nil when there is no hardware watchdog to feed

	away, held bool // no power from outside; switched off by the button. They are run's own
}

// Run is a gateway's life: an agent, and another one in the same process each
// time the power was away and is back. It returns nil after a clean stop, which
// ctx asks for, and else the error of what could not go on.
//
// What is wrong with the board is a warning, whatever it is.
func Run(ctx context.Context, c config.Config, version string, log *slog.Logger) error {
	l := &life{config: c, version: version, log: log}
	// First of all: see board.Open about files that are opened before.
	b, err := board.Open(c.Board.Wiring(), log)
	if err != nil {
		return fmt.Errorf("board: %w", err)
	}
	l.board = b
	switch client, err := machine.New(); {
	case err == nil:
		l.machine = client
	case !errors.Is(err, machine.ErrNoMachine):
		log.Warn("the machine can't be asked to switch off", "error", err)
	}
	l.chip = openChip(&c.Board, log)
	return l.run(ctx)
}

// run runs one agent after another.
func (l *life) run(ctx context.Context) error {
	defer l.watch()()
	for {
		a := New(l.config, l.version, l.log)
		a.life, a.alive = l, l.alive
		err := l.attend(ctx, a)
		if ctx.Err() != nil || !a.rests() {
			return err
		}
		l.rest(ctx, err)
		if ctx.Err() == nil && err == nil {
			err = a.settled(ctx)
		}
		if ctx.Err() != nil || err != nil {
			return err // a new process is on the safe side of whatever this was
		}
		l.log.Info("starting again")
		tellManager(l.log, "STATUS=")
	}
}

// watch runs the board and the watchdogs until the function it returns is called.
func (l *life) watch() (end func()) {
	if l.alive = newWatchdog(notify, l.chip, l.log); l.alive != nil {
		go l.alive.run()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.board.Run(ctx); err != nil {
			l.log.Warn("the board is not watched any more", "error", err)
		}
	}()
	return func() {
		cancel()
		<-done
		if err := l.board.Close(); err != nil {
			l.log.Warn("the board was not let go", "error", err)
		}
		l.alive.close()
		l.chip.close()
	}
}

// attend runs an agent, and tells it what happens on the board.
func (l *life) attend(ctx context.Context, a *Agent) error {
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	for {
		select {
		case err := <-done:
			return err
		case e := <-l.board.Events():
			l.hear(e)
			switch e.Kind {
			case board.PowerFailed:
				a.powerFails(e.At)
			case board.ButtonHeld:
				a.buttonHeld()
			}
		}
	}
}

// hear takes down what the board tells.
func (l *life) hear(e board.Event) {
	l.log.Info("board", "event", string(e.Kind), "ago", time.Since(e.At).Round(time.Millisecond).String())
	switch e.Kind {
	case board.PowerFailed:
		l.away = true
	case board.PowerBack:
		l.away = false
	case board.ButtonHeld:
		l.held = !l.held
	}
}

// rest waits, with nothing open, until there is a reason to start again: power,
// and no order by the button to stay down. An image is switched off meanwhile.
func (l *life) rest(ctx context.Context, failure error) {
	l.alive.enter(resting)
	shown := board.SafeToCut
	if failure != nil {
		shown = board.Failing
		l.log.Error("stopped, and not cleanly; the next start finds what there is", "error", failure)
	}
	l.board.Show(shown)
	// Ready as well: without power at the first start nothing else would be said, and
	// a service that is not ready in time is killed.
	tellManager(l.log, "READY=1\nSTATUS=stopped: "+l.why())
	off := l.offIn()
	for l.away || l.held {
		select {
		case <-ctx.Done():
			return
		case <-off:
			off = l.switchOff(ctx)
		case e := <-l.board.Events():
			l.hear(e)
			off = l.offIn()
		}
	}
}

// why says what the gateway rests for.
func (l *life) why() string {
	if l.held {
		return "by the button; hold it again to start"
	}
	return "there is no power from outside"
}

// offIn is when a machine that rests is switched off: at once when somebody
// holds the button, and when the power is away not before it had a chance to come
// back, since a UPS that never ran down does not switch a machine on again.
func (l *life) offIn() <-chan time.Time {
	switch {
	case l.machine == nil:
		return nil
	case l.held:
		return time.After(0)
	case l.away:
		return time.After(l.config.Board.PowerFail.OffAfter)
	}
	return nil
}

func (l *life) switchOff(ctx context.Context) <-chan time.Time {
	if err := l.machine.Poweroff(ctx); err != nil {
		l.log.Warn("the machine does not switch off; it can be cut from its power all the same", "error", err)
		return time.After(offRetry)
	}
	l.log.Info("the machine switches off")
	return nil
}

// show puts a pattern on the status LED. A nil life has none.
func (l *life) show(p board.Pattern) {
	if l != nil {
		l.board.Show(p)
	}
}

// problems are the parts of the board that don't work.
func (l *life) problems() (all []string) {
	if l == nil {
		return nil
	}
	for _, p := range l.board.Problems() {
		all = append(all, fmt.Sprintf("%s: %s", p.Part, p.Err))
	}
	if p := l.chip.problem(); p != "" {
		all = append(all, p)
	}
	return all
}

// tellManager notes what the service manager could not be told: it would wait in
// vain.
func tellManager(log *slog.Logger, state string) {
	if err := notify(state); err != nil {
		log.Warn("the service manager can't be told", "state", state, "error", err)
	}
}
