package pace

import "time"

// Words for why nothing leaves.
const (
	ClosedHours  = "outside the hours of the schedule"
	ClosedBudget = "the daily budget is used up"
	ClosedRamp   = "a moment of chance before the ramp up"
)

// Status is the state of the way out.
type Status struct {
	Open           bool          `json:"open"`
	Why            string        `json:"why,omitempty"`              // one of the words above
	Until          time.Time     `json:"until,omitzero"`             // wall clock; zero: open, or not known
	ClockUnset     bool          `json:"clock_unset,omitempty"`      // there are no hours, and a day is any 24
	Schedule       []string      `json:"schedule,omitempty"`         // spans of local time
	BytesToday     int64         `json:"bytes_today"`                // that left on this local day
	DailyBytes     int64         `json:"daily_bytes,omitempty"`      // what may; 0: no limit
	BytesPerSecond int64         `json:"bytes_per_second,omitempty"` // cap that holds now; 0: none
	Ramping        bool          `json:"ramping,omitempty"`          // the cap rises
	Unanswered     int64         `json:"unanswered_bytes"`
	BackfillMax    int64         `json:"backfill_unanswered_max,omitempty"` // live first: what the link can take; 0: one batch
	Classes        []ClassStatus `json:"classes,omitempty"`
}

// ClassStatus is the state of one class.
type ClassStatus struct {
	Lane       string  `json:"lane"`
	Backfill   bool    `json:"backfill,omitempty"`
	Weight     float64 `json:"weight"`
	Waiting    int64   `json:"waiting_bytes"`
	Unanswered int64   `json:"unanswered_bytes"`
	Sent       int64   `json:"sent_bytes"` // by this process
}

// Status returns the state of the gate. That of a nil Gate is open.
func (g *Gate) Status() Status {
	if g == nil {
		return Status{Open: true}
	}
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.look(now, true)
	g.serve(now)
	s := Status{
		Open: g.isOpen(now), ClockUnset: !g.hours.clockSet,
		BytesToday: g.hours.memory.Used, DailyBytes: g.cfg.DailyBytes,
		BytesPerSecond: g.rate(), Ramping: g.ramp.rate > 0,
		Unanswered: g.inflight.bytes,
	}
	for _, w := range g.cfg.Schedule {
		s.Schedule = append(s.Schedule, w.String())
	}
	if !s.Open {
		s.Why, s.Until = g.why(now)
	}
	if g.cfg.LiveFirst {
		s.BackfillMax = g.inflight.limit()
	}
	for _, c := range g.order {
		s.Classes = append(s.Classes, ClassStatus{
			Lane: c.Lane, Backfill: c.Backfill, Weight: c.weight, Waiting: c.waiting, Unanswered: c.out, Sent: c.sent,
		})
	}
	return s
}

func (g *Gate) why(now time.Time) (string, time.Time) {
	switch h := &g.hours; {
	case !h.inside:
		return ClosedHours, h.reopens(&g.cfg)
	case h.spent(&g.cfg):
		return ClosedBudget, h.reopens(&g.cfg)
	case g.ramp.holds(now):
		return ClosedRamp, g.cfg.Now().Add(g.ramp.from.Sub(now))
	}
	return "", time.Time{} // closed for good
}
