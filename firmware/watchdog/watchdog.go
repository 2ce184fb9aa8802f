package watchdog

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Limits of a timeout. Hardware grants less than asked for at times (a
// Raspberry Pi counts to 15 s; its kernel feeds it in between for more).
const (
	TimeoutMin = 2 * time.Second
	TimeoutMax = 10 * time.Minute
)

// ErrClosed is returned by what is done with a watchdog after its end.
var ErrClosed = errors.New("the watchdog is closed")

// ErrKeepsRunning is returned by Close when the watchdog can't be stopped: the
// machine resets when nobody feeds it.
var ErrKeepsRunning = errors.New("it can't be stopped (no way out), and will reset the machine if nobody feeds it")

// Boot is why the machine started, as far as the watchdog knows.
type Boot struct {
	Reset     bool // the watchdog reset it
	Overheat  bool
	PowerFail bool // under-voltage or over-voltage
	Flags     uint32
}

// device is what the kernel offers.
type device interface {
	support() (identity string, options uint32, err error)
	setTimeout(seconds int) error
	timeout() (seconds int, err error)
	bootStatus() (uint32, error)
	feed() error
	disarm() error // stops it, or returns ErrKeepsRunning
	close() error
}

// Watchdog is a running watchdog. Its methods may be called by several
// goroutines.
type Watchdog struct {
	path     string
	identity string
	options  uint32
	granted  time.Duration

	mu  sync.Mutex
	dev device // nil: closed
}

// Open starts the watchdog at path ("/dev/watchdog") with the timeout that is
// nearest to what is asked for; Timeout tells which.
func Open(path string, timeout time.Duration) (*Watchdog, error) {
	if timeout < TimeoutMin || timeout > TimeoutMax {
		return nil, fmt.Errorf("watchdog timeout %v: from %v to %v", timeout, TimeoutMin, TimeoutMax)
	}
	dev, err := openDevice(path)
	if err != nil {
		return nil, explain(path, err)
	}
	return start(path, dev, timeout)
}

func start(path string, dev device, timeout time.Duration) (*Watchdog, error) {
	w := &Watchdog{path: path, dev: dev}
	var err error
	if w.identity, w.options, err = dev.support(); err != nil {
		// Whatever it is, nothing is written to it.
		return nil, errors.Join(fmt.Errorf("%s: is no watchdog: %w", path, err), dev.close())
	}
	if err := w.arm(timeout); err != nil {
		// It runs since it was opened, and nobody is going to feed it.
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), dev.disarm(), dev.close())
	}
	return w, nil
}

func (w *Watchdog) arm(timeout time.Duration) (err error) {
	seconds := int((timeout + time.Second - 1) / time.Second)
	// Hardware that can't be told, or not so much, has a timeout of its own.
	refused := w.dev.setTimeout(seconds)
	if seconds, err = w.dev.timeout(); err != nil {
		if refused != nil {
			return fmt.Errorf("it takes no timeout and tells none: %w", errors.Join(refused, err))
		}
		seconds = int(timeout / time.Second)
	}
	if w.granted = time.Duration(seconds) * time.Second; w.granted <= 0 {
		return fmt.Errorf("it grants a timeout of %d s", seconds)
	}
	return w.dev.feed()
}

// explain turns what opening a device can say into what to do.
func explain(path string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s: there is no watchdog; `cistern board` shows which there are: %w", path, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: only root may; with systemd leave it to RuntimeWatchdogSec: %w", path, err)
	case isBusy(err):
		return fmt.Errorf("%s: somebody else feeds it (systemd's RuntimeWatchdogSec, watchdogd): %w", path, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// Timeout is how long it waits for the next Feed: not always what was asked for.
func (w *Watchdog) Timeout() time.Duration { return w.granted }

// Identity is the name of its driver.
func (w *Watchdog) Identity() string { return w.identity }

// Feed puts the reset off by Timeout.
func (w *Watchdog) Feed() error {
	return w.with(device.feed)
}

// BootStatus tells why the machine started. Many drivers know nothing of it and
// say zero.
func (w *Watchdog) BootStatus() (Boot, error) {
	var flags uint32
	err := w.with(func(d device) (err error) {
		flags, err = d.bootStatus()
		return err
	})
	return Boot{
		Reset:     flags&flagCardReset != 0,
		Overheat:  flags&flagOverheat != 0,
		PowerFail: flags&(flagPowerUnder|flagPowerOver) != 0,
		Flags:     flags,
	}, err
}

// Close stops the watchdog and lets it go. If it can't be stopped, the error is
// ErrKeepsRunning.
func (w *Watchdog) Close() error {
	return w.with(func(d device) error {
		w.dev = nil
		if w.options&flagMagicClose == 0 {
			return errors.Join(ErrKeepsRunning, d.close())
		}
		return errors.Join(d.disarm(), d.close())
	})
}

func (w *Watchdog) with(f func(device) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dev == nil {
		return fmt.Errorf("%s: %w", w.path, ErrClosed)
	}
	return named(w.path, f(w.dev))
}

func named(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", path, err)
}
