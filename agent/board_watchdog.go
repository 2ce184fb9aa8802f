package agent

import (
	"log/slog"
	"sync"
	"time"

	"cistern/agent/config"
	chips "cistern/firmware/watchdog"
)

// chip is the hardware watchdog that a gateway feeds which runs from no image,
// with the signs of life that a service manager gets. A nil one does nothing.
type chip struct {
	log     *slog.Logger
	timeout time.Duration
	feeder  feeder // nil: it could not be opened

	mu  sync.Mutex
	err error // of the last time
}

// feeder is what is used of package watchdog.
type feeder interface {
	Feed() error
	Close() error
}

// openChip starts the watchdog that is configured, if any.
func openChip(c *config.Board, log *slog.Logger) *chip {
	if c.Watchdog == "" {
		return nil
	}
	w, err := chips.Open(c.Watchdog, c.WatchdogTimeout)
	if err != nil {
		log.Warn("there is no hardware watchdog", "error", err)
		return &chip{log: log, err: err}
	}
	log.Info("hardware watchdog: running", "device", c.Watchdog, "identity", w.Identity(), "timeout", w.Timeout().String())
	if boot, err := w.BootStatus(); err == nil && boot.Reset {
		log.Warn("the hardware watchdog had reset the machine")
	}
	return &chip{log: log, timeout: w.Timeout(), feeder: w}
}

// period is how long the chip waits for a sign of life, 0 when nobody does.
func (c *chip) period() time.Duration {
	if c == nil {
		return 0
	}
	return c.timeout
}

func (c *chip) feed() {
	if c == nil || c.feeder == nil {
		return
	}
	err := c.feeder.Feed()
	c.mu.Lock()
	was := c.err
	c.err = err
	c.mu.Unlock()
	if err != nil && was == nil {
		c.log.Error("the hardware watchdog can't be fed; it will reset the machine", "error", err)
	}
}

// problem says why it doesn't work.
func (c *chip) problem() string {
	if c == nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return ""
	}
	return "watchdog: " + c.err.Error()
}

// close stops it: who stops a gateway does not ask for a reset.
func (c *chip) close() {
	if c == nil || c.feeder == nil {
		return
	}
	if err := c.feeder.Close(); err != nil {
		c.log.Warn("hardware watchdog", "error", err)
	}
}
