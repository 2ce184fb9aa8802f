package pace

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Window is a span of local time on every day, from a minute to another one,
// which is not in it. It may reach over midnight.
type Window struct{ From, To Minute }

// Minute is a time of day, counted in minutes from midnight: 0 to 1440.
type Minute int16

const minutesPerDay = 24 * 60

// ParseWindow reads a window as people write it: "02:00-05:00", "22:30-06:00".
// "00:00-24:00" is the whole day.
func ParseWindow(s string) (Window, error) {
	bad := fmt.Errorf("%q is no span of time; they look like \"02:00-05:00\", or \"22:00-06:00\" over midnight", s)
	from, to, ok := strings.Cut(strings.ReplaceAll(s, " ", ""), "-")
	w := Window{From: parseMinute(from), To: parseMinute(to)}
	switch {
	case !ok || w.From < 0 || w.To < 0 || w.From == minutesPerDay:
		return Window{}, bad
	case w.From == w.To:
		return Window{}, fmt.Errorf("%q is empty; \"00:00-24:00\" is the whole day", s)
	}
	return w, nil
}

// parseMinute reads "hh:mm"; -1 is not one.
func parseMinute(s string) Minute {
	hour, minute, ok := strings.Cut(s, ":")
	h, err := strconv.ParseUint(hour, 10, 8)
	m, err2 := strconv.ParseUint(minute, 10, 8)
	if !ok || err != nil || err2 != nil || len(minute) != 2 || m > 59 || h > 24 || h == 24 && m > 0 {
		return -1
	}
	return Minute(h*60 + m)
}

// String writes a window the way ParseWindow reads it.
func (w Window) String() string { return w.From.String() + "-" + w.To.String() }

// String writes a time of day as "hh:mm".
func (m Minute) String() string { return fmt.Sprintf("%02d:%02d", m/60, m%60) }

func (w Window) has(m Minute) bool {
	if w.From < w.To {
		return w.From <= m && m < w.To
	}
	return w.From <= m || m < w.To
}

// schedule is when the uplink may be used; empty is always. Windows may overlap.
type schedule []Window

// at tells whether the schedule is open at now, and when that changes next; the
// zero time is never. Local time is taken as the wall shows it: an hour that the
// change to summer time leaves out ends or begins a window at once, one that
// comes twice is open twice.
func (s schedule) at(now time.Time) (open bool, until time.Time) {
	if len(s) == 0 {
		return true, time.Time{}
	}
	open = s.has(now)
	// Times of day where anything could change, today and tomorrow: few enough to
	// look at all of them.
	for day := range 3 {
		for _, w := range s {
			for _, m := range [2]Minute{w.From, w.To} {
				t := onDay(now, day, m)
				if t.After(now) && s.has(t) != open && (until.IsZero() || t.Before(until)) {
					until = t
				}
			}
		}
	}
	return open, until
}

func (s schedule) has(t time.Time) bool {
	m := Minute(t.Hour()*60 + t.Minute())
	for _, w := range s {
		if w.has(m) {
			return true
		}
	}
	return false
}

// onDay returns a time of day some days after the day of now, in its zone.
func onDay(now time.Time, days int, m Minute) time.Time {
	y, month, d := now.Date()
	return time.Date(y, month, d+days, int(m)/60, int(m)%60, 0, 0, now.Location())
}
