package main

import (
	"sync"
	"time"

	"cistern/firmware/init/keep"
	"cistern/firmware/watchdog"
)

const (
	watchdogDevice = "/dev/watchdog"
	// watchdogTimeout: a Pi's counts to 15 s.
	watchdogTimeout = 15 * time.Second
	// feedEvery leaves room for a system that is briefly too busy.
	feedEvery = 4 * time.Second
)

// watch is keep.Watch with a clock and, if there is one, the hardware.
type watch struct {
	mu    sync.Mutex
	w     keep.Watch
	hw    *watchdog.Watchdog // nil: none
	say   func(string, ...any)
	hung  chan struct{} // the agent is to be ended
	reset chan struct{} // nothing but a reset helps
}

// newWatch starts the hardware's watchdog if it may and if there is one.
func newWatch(use bool, say func(string, ...any)) *watch {
	w := &watch{say: say, hung: make(chan struct{}, 1), reset: make(chan struct{}, 1)}
	w.w.Allow(sinceBoot(), keep.BootMax)
	if !use {
		say("watchdog: off, as the kernel's command line says")
	} else if hw, err := watchdog.Open(watchdogDevice, watchdogTimeout); err != nil {
		say("watchdog: %v; a system that hangs stays so", err)
	} else {
		w.hw = hw
		say("watchdog: %s, %s%s", hw.Identity(), hw.Timeout(), cause(hw))
	}
	go w.tend()
	return w
}

func cause(hw *watchdog.Watchdog) string {
	if b, err := hw.BootStatus(); err == nil && b.Reset {
		return "; it was what reset the machine"
	}
	return ""
}

func (w *watch) tend() {
	for range time.Tick(feedEvery) {
		w.mu.Lock()
		verdict, alive := w.w.Judge(sinceBoot()), w.w.Alive(sinceBoot())
		w.mu.Unlock()
		if alive && w.hw != nil {
			if err := w.hw.Feed(); err != nil {
				w.say("watchdog: %v", err)
			}
		}
		switch verdict {
		case keep.Kill:
			signalOnce(w.hung)
		case keep.Reset:
			signalOnce(w.reset)
		}
	}
}

func (w *watch) allow(d time.Duration) {
	w.do(func(k *keep.Watch, now time.Duration) { k.Allow(now, d) })
}

func (w *watch) started() {
	select {
	case <-w.hung: // meant the one before
	default:
	}
	w.do((*keep.Watch).Started)
}

func (w *watch) beaten() { w.do((*keep.Watch).Beaten) }

func (w *watch) stopping() { w.do((*keep.Watch).Stopping) }

func (w *watch) do(f func(*keep.Watch, time.Duration)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.w, sinceBoot())
}

func signalOnce(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

var bootedAt = time.Now()

// sinceBoot is a clock that nobody sets.
func sinceBoot() time.Duration { return time.Since(bootedAt) }

// leave stops the hardware: a machine that is switched off by its kernel must
// not be started again by it.
func (w *watch) leave() {
	if w.hw == nil {
		return
	}
	if err := w.hw.Close(); err != nil {
		w.say("watchdog: %v", err)
	}
}
