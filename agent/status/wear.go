package status

import (
	"fmt"
	"time"
)

// Lately is what a card was written in the last day of running: by everything on
// this machine, and by the journal alone.
type Lately struct {
	Seconds float64 `json:"seconds"` // a day and up to two hours; less when it is counted for less
	Bytes   int64   `json:"bytes"`
	Journal int64   `json:"journal_bytes"`
}

const (
	day = 24 * time.Hour
	// projectAfter is how long a card is counted before a day is made of it: an
	// import, or the first copies of a new gateway, should not cry wolf.
	projectAfter = 6 * time.Hour
	// overBudget is how much of daily_write_budget is too much, in percent. With
	// commit_window = "auto" the journal alone settles at all of it, and the file
	// system and the rest of the machine come on top.
	overBudget = 125
)

// span is how long it was counted for.
func (l *Lately) span() time.Duration { return time.Duration(l.Seconds * float64(time.Second)) }

// perDay is the bytes of a day at this pace, and negative while that is not known.
func (l *Lately) perDay() float64 {
	if l == nil || l.span() < projectAfter {
		return -1
	}
	return float64(l.Bytes) * day.Seconds() / l.Seconds
}

// Over says whether it is more than the budget of a day, in words, or "".
func (l *Lately) Over(budget int64) string {
	if l == nil || budget <= 0 {
		return ""
	}
	limit := float64(budget) * overBudget / 100
	switch {
	case l.span() < day && float64(l.Bytes) > limit:
		return fmt.Sprintf("%s in %.0f hours of running", l.words(), l.span().Hours())
	case l.perDay() <= limit:
		return ""
	case l.span() < day:
		return fmt.Sprintf("%s in %.0f hours of running, which makes %s in a day", l.words(), l.span().Hours(), gibibytes(int64(l.perDay())))
	}
	return fmt.Sprintf("%s in the last %.0f hours of running", l.words(), l.span().Hours())
}

func (l *Lately) words() string {
	return fmt.Sprintf("%s, %s of it by the journal,", gibibytes(l.Bytes), gibibytes(l.Journal))
}

func gibibytes(n int64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

// JudgeWear sets and clears the warning about what the card with the data is
// written in a day.
func JudgeWear(h *Health, d *Document) {
	if d.Board == nil {
		return
	}
	why := ""
	for i := range d.Board.Disks {
		disk := &d.Board.Disks[i]
		if over := disk.Lately.Over(d.Storage.DailyWriteBudget); over != "" && disk.Device == d.Board.DataOn {
			why = fmt.Sprintf("%s: %s; budget %s a day", disk.Device, over, gibibytes(d.Storage.DailyWriteBudget))
		}
	}
	h.Update(CardWritesHigh, why != "", "%s", why)
}
