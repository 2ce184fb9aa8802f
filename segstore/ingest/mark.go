package ingest

import (
	"time"

	"cistern/segstore/batch"
)

// clockSlack is by how much the clock may have moved between records of one batch
// that were taken before it was set: they are set right together.
const clockSlack = 250 * time.Millisecond

// clockMark says by which clock a record's time was told. All records of a batch
// have the same.
type clockMark struct {
	unset bool
	ahead int64 // ms, what the clock showed beyond the time since boot
}

// markOf reads what whoever made the record wrote into its header.
func markOf(r *batch.Record) (m clockMark) {
	value := r.ClockMark()
	if value == nil {
		return m
	}
	_, monotonic, ok := batch.ParseClockMark(value)
	if !ok {
		return m
	}
	return clockMark{unset: true, ahead: r.Timestamp - monotonic}
}

// differs reports whether a record with mark m can't be in a batch with n.
func (m clockMark) differs(n clockMark) bool {
	if m == n {
		return false
	}
	slack := clockSlack.Milliseconds()
	d := m.ahead - n.ahead
	return m.unset != n.unset || d > slack || d < -slack
}
