package agent

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"
)

// How long each part of a gateway's life may go without getting anywhere before
// the service manager is left to end it.
//
// A card that tidies up inside may hold a flush for 10 to 20 s and be well: an
// agent that is killed for that loses nothing, but it turns its devices away, its
// partitions move, and the next start meets the same card. So a part counts as
// stuck only after four times as long. Nor does a journal that latched count: it
// heals itself, and says so meanwhile.
//
// The sign of life itself touches no flash. It still needs its memory pages, which a
// slow card may have to bring back: a service manager should wait for a minute.
const (
	stuckAfter = 80 * time.Second
	openMax    = 10 * time.Minute // reading the journal after a power cut, at the slowest
	stopMax    = 90 * time.Second // parts have limits of their own; if most of them need all of theirs, it hangs

	pulseInterval   = 5 * time.Second
	signsPerPeriod  = 3 // of the time the service manager waits: two may be late
	signIntervalMin = 100 * time.Millisecond
	watchdogMax     = 24 * time.Hour // what anybody would wait
)

// The parts whose progress counts. The watch loop takes every lock that a status
// needs, of the journal, the site, the drain and the listeners, in turn: where one of
// them is held for ever, it stands still.
const (
	partJournal = "the journal's committer"
	partWatch   = "the watch over all parts"
)

// watchdog tells the service manager that the agent gets on, for as long as it
// does: WATCHDOG=1, as in sd_notify(3). So it tells a hardware watchdog, if one is
// configured. A nil one does nothing.
type watchdog struct {
	every time.Duration
	tell  func(state string) error
	log   *slog.Logger
	quit  chan struct{}
	done  chan struct{}

	mu    sync.Mutex
	phase phase
	since time.Time            // when the phase began
	beats map[string]time.Time // when a part last got anywhere, while working
}

type phase int

const (
	opening phase = iota
	working
	stopping
	resting // nothing is open: see life.rest
)

// newWatchdog returns nil when neither the service manager nor a hardware watchdog
// waits for signs of life.
func newWatchdog(tell func(state string) error, chip *chip, log *slog.Logger) *watchdog {
	period, err := watchdogPeriod()
	if err != nil {
		log.Warn("the service manager's watchdog is not served", "error", err)
	}
	if period == 0 {
		tell = func(string) error { return nil }
	}
	waits := period
	if p := chip.period(); p > 0 && (waits == 0 || p < waits) {
		waits = p
	}
	if waits == 0 {
		return nil
	}
	both := func(state string) error {
		chip.feed()
		return tell(state)
	}
	return &watchdog{
		every: max(waits/signsPerPeriod, signIntervalMin), tell: both, log: log,
		quit: make(chan struct{}), done: make(chan struct{}),
		since: time.Now(), beats: map[string]time.Time{},
	}
}

// watchdogPeriod is how long the service manager waits for a sign of life, 0 when
// it does not: sd_watchdog_enabled(3).
func watchdogPeriod() (time.Duration, error) {
	text := os.Getenv("WATCHDOG_USEC")
	if text == "" || os.Getenv("NOTIFY_SOCKET") == "" {
		return 0, nil
	}
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0, nil // it means another process, whose environment we have
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n == 0 || n > uint64(watchdogMax/time.Microsecond) {
		return 0, fmt.Errorf("WATCHDOG_USEC is %q: it has to be a number of microseconds, up to a day; set WatchdogSec= of the service", text)
	}
	return time.Duration(n) * time.Microsecond, nil
}

// run gives signs of life until close.
func (w *watchdog) run() {
	defer close(w.done)
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	was, deaf := "", false
	for {
		stuck := w.stuck(time.Now())
		switch {
		case stuck != "" && was == "":
			w.log.Error("stuck: the service manager gets no more signs of life", "part", stuck)
		case stuck == "" && was != "":
			w.log.Warn("no longer stuck", "part", was)
		}
		if was = stuck; stuck == "" {
			err := w.tell("WATCHDOG=1")
			if err != nil && !deaf {
				w.log.Warn("the service manager gets no sign of life", "error", err)
			}
			deaf = err != nil
		}
		select {
		case <-w.quit:
			return
		case <-tick.C:
		}
	}
}

// stuck names a part that has got nowhere for too long, or is empty.
func (w *watchdog) stuck(now time.Time) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.phase {
	case opening:
		return overdue("the start", now.Sub(w.since), openMax)
	case stopping:
		return overdue("the stop", now.Sub(w.since), stopMax)
	case resting:
		return ""
	}
	for _, part := range []string{partJournal, partWatch} {
		if s := overdue(part, now.Sub(w.beats[part]), stuckAfter); s != "" {
			return s
		}
	}
	return ""
}

func overdue(part string, took, limit time.Duration) string {
	if took <= limit {
		return ""
	}
	return fmt.Sprintf("%s, for %s", part, took.Round(time.Second))
}

// enter begins a phase, in which every part has all its time.
func (w *watchdog) enter(p phase) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase, w.since = p, time.Now()
	w.beats[partJournal], w.beats[partWatch] = w.since, w.since
}

// beat says that a part got somewhere.
func (w *watchdog) beat(part string) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.beats[part] = time.Now()
}

// close ends run, if it ran.
func (w *watchdog) close() {
	if w == nil {
		return
	}
	close(w.quit)
	<-w.done
}

// feelPulse asks the journal's committers to come round, again and again, until
// ctx ends.
func (w *watchdog) feelPulse(ctx context.Context, pulse func(context.Context) error) error {
	tick := time.NewTicker(min(pulseInterval, w.every))
	defer tick.Stop()
	for {
		if err := pulse(ctx); err != nil {
			return err
		}
		w.beat(partJournal)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
