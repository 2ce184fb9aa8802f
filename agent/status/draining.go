package status

import "time"

// Draining is what the drain of a partition does, beyond its position. What a
// gateway that drains a partition knows stands there; others name it.
type Draining struct {
	Paused    bool        `json:"drain_paused,omitempty"`
	Since     time.Time   `json:"drain_since,omitzero"` // of Drain, the state
	Flows     []DrainFlow `json:"drain_flows,omitempty"`
	Missed    int64       `json:"records_missed,omitempty"`    // no longer here when their turn came
	Skipped   int64       `json:"records_skipped,omitempty"`   // on an operator's word
	Retimed   int64       `json:"records_retimed,omitempty"`   // sent with other times, since the centre refused theirs
	Abandoned int64       `json:"records_abandoned,omitempty"` // the centre has them, and the site gave them up
	Resent    int64       `json:"batches_resent,omitempty"`    // since start
}

// DrainFlow is one order in which a partition's records go upstream: live, or the
// backfill of what an outage left behind.
type DrainFlow struct {
	Kind     string `json:"kind"` // live, backfill
	Position int64  `json:"position"`
	End      int64  `json:"end"` // behind its last offset; -1: it has no end
	Records  int64  `json:"records"`
	State    string `json:"state"`
	Reason   string `json:"reason,omitempty"`
	InDoubt  bool   `json:"in_doubt,omitempty"` // records from Position on may be at the centre already
}

// Flow kinds.
const (
	FlowLive     = "live"
	FlowBackfill = "backfill"
)

// Pacing is when and how fast records may leave.
type Pacing struct {
	Open           bool      `json:"open"`
	Why            string    `json:"why,omitempty"`              // it is closed
	Until          time.Time `json:"until,omitzero"`             // it opens; zero: not known
	ClockUnset     bool      `json:"clock_unset,omitempty"`      // no hours hold, and a day is any 24
	Schedule       []string  `json:"schedule,omitempty"`         // hours, local time
	BytesPerSecond int64     `json:"bytes_per_second,omitempty"` // cap that holds now; 0: none
	Ramping        bool      `json:"ramping,omitempty"`          // the cap rises after an outage
	BytesToday     int64     `json:"bytes_today"`
	DailyBytes     int64     `json:"daily_bytes,omitempty"` // budget; 0: none
}

// Spent reports whether the daily budget is used up.
func (p *Pacing) Spent() bool { return p.DailyBytes > 0 && p.BytesToday >= p.DailyBytes }
