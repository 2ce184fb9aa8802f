package agent

import (
	"encoding/json"
	"slices"

	"cistern/agent/status"
	"cistern/firmware/board"
)

// What a card is written in a day. A day is one of running: 24 hours that this
// gateway's machines were on and the card was counted, by the time since boot. The
// wall clock has no say in it: boards without a battery start in the past and jump
// years when a time service answers.

// journalWrites is what this agent's journal has written since it started, and to
// which disk.
type journalWrites struct {
	disk  string
	bytes int64
}

// wear is what is kept of a disk: all it was written, in how much time, and how
// much of it by the journal.
type wear struct {
	board.Wear
	Age float64 `json:"age"` // seconds in which Bytes were counted
	Up  float64 `json:"up"`  // the machine's uptime at the last look
	Own int64   `json:"own"` // bytes of the journal
}

// next accounts for a look at the disk: for its bytes and for the time in which
// they were written, which both begin with the boot.
func (w wear) next(d *board.Disk, boot string, uptime float64, own int64) (wear, error) {
	is, err := w.Wear.Next(d, boot)
	if err != nil {
		return w, err
	}
	more := uptime
	if is.Boot == w.Boot {
		more = max(uptime-w.Up, 0)
	}
	return wear{is, w.Age + more, uptime, w.Own + max(own, 0)}, nil
}

const (
	daySeconds = 24 * 60 * 60
	// markEvery is how far a day's beginning may be off. Marks ride in the padding
	// of commits, so that there are not more of them than it takes.
	markEvery = daySeconds / 12
)

// mark is what was counted at some age.
type mark struct {
	Age   float64 `json:"age"`
	Bytes int64   `json:"bytes"`
	Own   int64   `json:"own"`
}

// lately is what the disk was written in the last day of running, or since it is
// counted when that is less. Its beginnings are kept as marks, oldest first.
func (l *looks) lately(f facts, id string, is *wear) *status.Lately {
	key := "wear-day/" + id
	var marks []mark
	if text := f.Get(key); text != nil && json.Unmarshal(text, &marks) != nil {
		marks = nil
	}
	// A crash may lose the latest count and keep the mark made of it.
	marks = slices.DeleteFunc(marks, func(m mark) bool { return m.Age > is.Age || m.Bytes > is.Bytes || m.Own > is.Own })
	if n := len(marks); n == 0 || is.Age-marks[n-1].Age >= markEvery && is.Bytes > marks[n-1].Bytes {
		marks = append(marks, mark{is.Age, is.Bytes, is.Own})
		for len(marks) > 1 && is.Age-marks[1].Age >= daySeconds {
			marks = marks[1:] // a younger one begins the day as well
		}
		put(f, key, marks)
	}
	from := marks[0]
	for _, m := range marks[1:] {
		if is.Age-m.Age >= daySeconds {
			from = m
		}
	}
	return &status.Lately{Seconds: is.Age - from.Age, Bytes: is.Bytes - from.Bytes, Journal: is.Own - from.Own}
}
