package pace

import "time"

const (
	// SaveInterval is how far Memory lags behind what it counts, at most.
	SaveInterval = 10 * time.Second
	// firstYear is the earliest a set clock can show, as in the agent.
	firstYear = 2024
	// durableShare is the part of the daily budget that a power cut may forget.
	durableShare = 32
	// upSaveInterval is how old the time at which the uplink was seen may be.
	upSaveInterval = time.Minute
	// unsetSaveInterval is how much of a day without a set clock a power cut may forget.
	unsetSaveInterval = time.Hour
)

// Memory is what outlives the process.
type Memory struct {
	Day  string    // local, like "2026-11-22"; "" is not known
	Used int64     // bytes that left on it
	UpAt time.Time // when the uplink was last known to be up; wall clock
	// Unset is how much of a day without a set clock has passed. A machine that never
	// has one and runs for hours only would else stay at what it once used.
	Unset time.Duration
}

// hours knows whether time of day and daily budget allow to send.
type hours struct {
	memory   Memory
	durable  int64 // Used that was asked to be durable
	saved    Memory
	saving   *time.Timer
	clockSet bool
	unsetAt  time.Time // since when the clock is unset, monotonic
	unset    int64     // bytes that left since then
	// unsetBefore is memory.Unset at unsetAt.
	unsetBefore  time.Duration
	unsetDurable time.Duration // memory.Unset that was asked to be durable
	inside       bool          // the schedule is open
	changes      time.Time     // when that changes; wall clock
	wall         time.Time     // of the last look
}

func (h *hours) load(c *Config) {
	if c.Load != nil {
		h.memory = c.Load()
	}
	h.saved, h.durable, h.unsetDurable = h.memory, h.memory.Used, h.memory.Unset
	h.inside = true
}

// look finds out what the wall clock says. Without a set clock there are no hours,
// and a day is 24 hours from when that was first seen.
func (h *hours) look(c *Config, wall, now time.Time) {
	h.wall = wall
	h.clockSet = wall.Year() >= firstYear
	if !h.clockSet {
		h.inside, h.changes = true, time.Time{}
		if h.unsetAt.IsZero() {
			h.unsetAt, h.unsetBefore = now, h.memory.Unset
		}
		h.memory.Unset = h.unsetBefore + now.Sub(h.unsetAt)
		if h.memory.Unset >= 24*time.Hour {
			h.unsetAt, h.unsetBefore, h.memory.Unset = now, 0, 0
			h.unset, h.memory.Used, h.durable = 0, 0, 0
		}
		return
	}
	h.inside, h.changes = schedule(c.Schedule).at(wall)
	// What left before the clock was set left today, most likely.
	switch day := wall.Format(time.DateOnly); h.memory.Day {
	case day:
	case "":
		h.memory.Day = day
	default:
		h.memory.Day, h.memory.Used, h.durable = day, h.unset, 0
	}
	h.unsetAt, h.unset, h.memory.Unset = time.Time{}, 0, 0
}

// open says whether something may leave.
func (h *hours) open(c *Config) bool { return h.inside && !h.spent(c) }

func (h *hours) spent(c *Config) bool { return c.DailyBytes > 0 && h.memory.Used >= c.DailyBytes }

// reopens returns when hours and budget allow to send again, by the wall clock;
// the zero time is not known.
func (h *hours) reopens(c *Config) time.Time {
	var at time.Time
	if !h.inside {
		at = h.changes
	}
	if !h.clockSet || !h.spent(c) {
		return at
	}
	midnight := onDay(h.wall, 1, 0)
	if in, next := schedule(c.Schedule).at(midnight); !in {
		return next
	}
	return midnight
}

func (h *hours) seenUp(wall time.Time, clockSet bool) {
	if clockSet {
		h.memory.UpAt = wall
	}
}

// count notes bytes that have left, or n < 0 did not leave after all.
func (g *Gate) count(n int64) {
	h := &g.hours
	h.memory.Used = max(0, h.memory.Used+n)
	if !h.clockSet {
		h.unset = max(0, h.unset+n)
	}
	g.saveLater()
}

// saveLater sees to it that what is new is saved, soon.
func (g *Gate) saveLater() {
	h := &g.hours
	if g.cfg.Save == nil || h.saving != nil || g.closed {
		return
	}
	counted := g.cfg.DailyBytes > 0 && (h.memory.Used != h.saved.Used || h.memory.Day != h.saved.Day)
	if counted || h.unsetUnsaved(&g.cfg) || h.memory.UpAt.Sub(h.saved.UpAt).Abs() >= upSaveInterval {
		h.saving = time.AfterFunc(SaveInterval, func() { g.save(false) })
	}
}

// unsetUnsaved says that more of a day without a set clock has passed than a power
// cut may forget.
func (h *hours) unsetUnsaved(c *Config) bool {
	return c.DailyBytes > 0 && (h.memory.Unset-h.unsetDurable).Abs() >= unsetSaveInterval
}

// save hands over what has to be remembered.
func (g *Gate) save(closing bool) {
	g.saving.Lock()
	defer g.saving.Unlock()
	g.mu.Lock()
	if g.closed && !closing {
		g.mu.Unlock()
		return
	}
	h := &g.hours
	if h.saving != nil {
		h.saving.Stop()
		h.saving = nil
	}
	m := h.memory
	durable := g.cfg.DailyBytes > 0 && (m.Used-h.durable)*durableShare >= g.cfg.DailyBytes || h.unsetUnsaved(&g.cfg)
	if g.cfg.Save == nil || m == h.saved {
		g.mu.Unlock()
		return
	}
	if durable {
		h.durable, h.unsetDurable = m.Used, m.Unset
	}
	h.saved = m
	g.mu.Unlock()
	g.cfg.Save(m, durable)
}
