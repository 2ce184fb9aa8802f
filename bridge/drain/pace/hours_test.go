package pace

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseWindow(t *testing.T) {
	for text, want := range map[string]Window{
		"02:00-05:00": {120, 300}, "22:30 - 06:00": {1350, 360}, "0:00-24:00": {0, 1440}, "23:59-00:00": {1439, 0},
	} {
		w, err := ParseWindow(text)
		if err != nil || w != want {
			t.Errorf("%q: %v, %v", text, w, err)
		}
		if again, err := ParseWindow(w.String()); again != w || err != nil {
			t.Errorf("%q is written %q", text, w)
		}
	}
	for _, text := range []string{"", "2-5", "02:00", "02:00-02:00", "24:00-01:00", "02:60-03:00", "25:00-26:00", "-1:00-03:00", "02:0-03:00", "24:01-25:00", "02:00-03:00-04:00"} {
		if w, err := ParseWindow(text); err == nil {
			t.Errorf("%q was taken as %s", text, w)
		}
	}
}

func windows(t *testing.T, text ...string) (s schedule) {
	for _, one := range text {
		w, err := ParseWindow(one)
		if err != nil {
			t.Fatal(err)
		}
		s = append(s, w)
	}
	return s
}

func TestSchedule(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones on this machine: ", err)
	}
	const none = "0001-01-01 00:00"
	for name, test := range map[string]struct {
		windows []string
		now     string
		open    bool
		until   string
	}{
		"always":         {nil, "2026-11-22 12:00", true, none},
		"whole day":      {[]string{"00:00-24:00"}, "2026-11-22 12:00", true, none},
		"before":         {[]string{"02:00-05:00"}, "2026-11-22 01:59", false, "2026-11-22 02:00"},
		"begin":          {[]string{"02:00-05:00"}, "2026-11-22 02:00", true, "2026-11-22 05:00"},
		"end":            {[]string{"02:00-05:00"}, "2026-11-22 05:00", false, "2026-11-23 02:00"},
		"over midnight":  {[]string{"22:00-06:00"}, "2026-11-22 23:00", true, "2026-11-23 06:00"},
		"after midnight": {[]string{"22:00-06:00"}, "2026-11-22 05:59", true, "2026-11-22 06:00"},
		"until midnight": {[]string{"22:00-24:00"}, "2026-12-31 23:00", true, "2027-01-01 00:00"},
		"two that meet":  {[]string{"22:00-24:00", "00:00-03:00"}, "2026-11-22 23:00", true, "2026-11-23 03:00"},
		"two":            {[]string{"01:00-02:00", "12:00-13:00"}, "2026-11-22 02:00", false, "2026-11-22 12:00"},
		"inside another": {[]string{"01:00-08:00", "02:00-03:00"}, "2026-11-22 01:30", true, "2026-11-22 08:00"},
		"spring":         {[]string{"02:30-05:00"}, "2026-03-29 01:59", false, "2026-03-29 03:30"}, // 02:00 is 03:00
		"autumn":         {[]string{"01:00-02:30"}, "2026-10-25 01:30", true, "2026-10-25 02:30"},  // 02:30 comes twice
	} {
		t.Run(name, func(t *testing.T) {
			now, err := time.ParseInLocation("2006-01-02 15:04", test.now, berlin)
			if err != nil {
				t.Fatal(err)
			}
			open, until := windows(t, test.windows...).at(now)
			if open != test.open || until.Format("2006-01-02 15:04") != test.until {
				t.Errorf("open %v until %s", open, until)
			}
		})
	}
}

// wallClock runs, and can be set.
type wallClock struct{ offset atomic.Int64 }

func (w *wallClock) set(shows time.Time) { w.offset.Store(int64(time.Until(shows))) }
func (w *wallClock) now() time.Time      { return time.Now().Add(time.Duration(w.offset.Load())) }

func wallAt(shows time.Time) func() time.Time {
	w := new(wallClock)
	w.set(shows)
	return w.now
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.Local)

// Outside the hours nothing leaves; when they begin, what waits does.
func TestHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := wallAt(noon)
		g := New(Config{Schedule: windows(t, "22:00-01:00"), Now: wall})
		s := g.Status()
		if s.Open || s.Why != ClosedHours || !s.Until.Equal(noon.Add(10*time.Hour)) || s.ClockUnset {
			t.Errorf("%+v", s)
		}
		p := g.Ask(Class{}, 1)
		<-p.Granted()
		if late := wall().Sub(noon.Add(10 * time.Hour)); late < 0 || late > time.Second {
			t.Errorf("granted %s after the hours began", late)
		}
		time.Sleep(4 * time.Hour)
		if s := g.Status(); s.Open || !s.Until.Equal(noon.Add(34*time.Hour)) {
			t.Errorf("%+v", s)
		}
	})
}

// A gateway whose clock is not set has no hours. When the clock is set, whether
// forward into closed hours or back into open ones, that counts at once.
func TestHoursWithoutClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wall wallClock
		wall.set(time.Unix(0, 0))
		g := New(Config{Schedule: windows(t, "02:00-03:00"), Now: wall.now})
		if s := g.Status(); !s.Open || !s.ClockUnset {
			t.Errorf("%+v", s)
		}
		<-g.Ask(Class{}, 1).Granted()
		wall.set(noon)
		time.Sleep(lookInterval)
		p := g.Ask(Class{}, 1)
		if s := g.Status(); s.Open || s.ClockUnset {
			t.Errorf("%+v", s)
		}
		wall.set(noon.Add(-10 * time.Hour)) // it was wrong
		start := time.Now()
		<-p.Granted()
		if d := time.Since(start); d > recheckInterval {
			t.Errorf("noticed after %s", d)
		}
		wall.set(noon)
		if g.Status().Open {
			t.Error("open at noon")
		}
		wall.set(time.Unix(0, 0)) // and lost again
		if s := g.Status(); !s.Open || !s.ClockUnset {
			t.Errorf("%+v", s)
		}
	})
}

// memory is where a gate remembers.
type memory struct {
	mu sync.Mutex
	Memory
	saves, durable int
}

func (m *memory) get() (now Memory, saves, durable int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Memory, m.saves, m.durable
}

func (m *memory) config(c Config) Config {
	c.Load = func() Memory { return m.Memory }
	c.Save = func(now Memory, durable bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.Memory = now
		m.saves++
		if durable {
			m.durable++
		}
	}
	return c
}

// When the day's bytes are used up nothing leaves until midnight, also after a
// restart.
func TestDailyBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall, kept := wallAt(noon), memory{}
		g := New(kept.config(Config{DailyBytes: 100_000, Now: wall}))
		for range 99 {
			p := g.Ask(Class{}, 1000)
			<-p.Granted()
			p.Done()
			time.Sleep(time.Second)
		}
		<-g.Ask(Class{}, 50_000).Granted() // the one that goes over
		g.Ask(Class{}, 1)                  // waits until this process ends
		midnight := time.Date(2026, 11, 23, 0, 0, 0, 0, time.Local)
		if s := g.Status(); s.Open || s.Why != ClosedBudget || s.BytesToday != 149_000 || !s.Until.Equal(midnight) {
			t.Errorf("%+v", s)
		}
		time.Sleep(SaveInterval + time.Second)
		if m, saves, durable := kept.get(); m.Used != 149_000 || m.Day != "2026-11-22" || saves > 12 || durable == 0 {
			t.Errorf("kept %+v in %d saves, %d durable", m, saves, durable)
		}
		g.Close()

		g = New(kept.config(Config{DailyBytes: 100_000, Now: wall}))
		p := g.Ask(Class{}, 7)
		<-p.Granted()
		if late := wall().Sub(midnight); late < 0 || late > time.Second {
			t.Errorf("granted %s after midnight", late)
		}
		if s := g.Status(); s.BytesToday != 7 {
			t.Errorf("%+v", s)
		}
		g.Close()
		if m, _, _ := kept.get(); m.Used != 7 || m.Day != "2026-11-23" {
			t.Errorf("kept %+v", m)
		}
	})
}

// The budget ends at midnight, but the hours begin later.
func TestBudgetAndHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Config{DailyBytes: 1000, Schedule: windows(t, "11:00-13:00"), Now: wallAt(noon)})
		<-g.Ask(Class{}, 1000).Granted()
		if s := g.Status(); s.Why != ClosedBudget || !s.Until.Equal(noon.Add(23*time.Hour)) {
			t.Errorf("%+v", s)
		}
	})
}

// Without a clock the count goes on, over a restart too, and a day is 24 hours.
func TestBudgetWithoutClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := memory{Memory: Memory{Day: "2026-11-21", Used: 300}}
		var wall wallClock
		wall.set(time.Unix(0, 0))
		g := New(kept.config(Config{DailyBytes: 1000, Now: wall.now}))
		<-g.Ask(Class{}, 400).Granted()
		if s := g.Status(); s.BytesToday != 700 || !s.Open {
			t.Errorf("%+v", s)
		}
		wall.set(noon) // of the next day: the 400 are of it
		if s := g.Status(); s.BytesToday != 400 {
			t.Errorf("%+v", s)
		}
		wall.set(time.Unix(0, 0))
		<-g.Ask(Class{}, 600).Granted()
		p := g.Ask(Class{}, 1)
		start := time.Now()
		<-p.Granted()
		if d := time.Since(start); d < 23*time.Hour || d > 25*time.Hour {
			t.Errorf("the day was %s long", d)
		}
	})
}

// uplink is up since some time, or down.
type uplink struct {
	since time.Time
	up    bool
}

func (u *uplink) state() (time.Time, bool) { return u.since, u.up }

// After a long absence the rate rises from RampStart, and the ramp ends.
func TestRamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := wallAt(noon)
		u := uplink{wall(), true}
		g := New(Config{RampUp: true, BytesPerSecond: 2 << 20, Uplink: u.state, Now: wall,
			Rand: func(most time.Duration) time.Duration { return most / 2 }})
		if s := g.Status(); s.Ramping {
			t.Errorf("at the start: %+v", s)
		}
		u.up = false
		time.Sleep(10 * time.Minute)
		u = uplink{wall(), true}
		if g.Look(); g.Status().Ramping {
			t.Error("ten minutes are not long")
		}
		u.up = false
		time.Sleep(2 * time.Hour)
		u = uplink{wall(), true}
		p := g.Ask(Class{}, 1)
		if s := g.Status(); s.Open || s.Why != ClosedRamp || !s.Until.Equal(wall().Add(RampDelayMax/2)) {
			t.Errorf("%+v", s)
		}
		start := time.Now()
		<-p.Granted()
		if d := time.Since(start); d != RampDelayMax/2 {
			t.Errorf("it began after %s", d)
		}
		for _, rate := range []float64{256 << 10, 512 << 10, 1 << 20, 2 << 20, 2 << 20} {
			s := &sender{size: 5000}
			run(g, RampStep, s)
			near(t, "in 10 s", float64(s.sent), rate*RampStep.Seconds(), 0.05)
		}
		if s := g.Status(); s.Ramping || s.BytesPerSecond != 2<<20 {
			t.Errorf("at the end: %+v", s)
		}
	})
}

// Without a cap the ramp ends as well, and nothing is left of it.
func TestRampEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Config{RampUp: true})
		g.Up(24 * time.Hour)
		<-g.Ask(Class{}, 100<<20).Granted() // 400 s of the first rate
		start := time.Now()
		<-g.Ask(Class{}, 1).Granted()
		if d := time.Since(start); d < 30*time.Second || d > 2*time.Minute {
			t.Errorf("paid after %s", d)
		}
		time.Sleep(2 * time.Minute)
		if s := g.Status(); s.Ramping || s.BytesPerSecond != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// What the process before saw counts. A clock that is not set can't tell how long
// that is ago, which counts as long.
func TestRampAfterRestart(t *testing.T) {
	for name, test := range map[string]struct {
		upAt, now time.Time
		want      bool
	}{
		"a new gateway": {time.Time{}, noon, false},
		"a restart":     {noon.Add(-time.Minute), noon, false},
		"a power cut":   {noon.Add(-2 * time.Hour), noon, true},
		"no clock":      {noon.Add(-2 * time.Hour), time.Unix(1000, 0), true},
		"set back":      {noon.Add(2 * time.Hour), noon, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wall, kept := wallAt(test.now), memory{Memory: Memory{UpAt: test.upAt}}
				u := uplink{wall(), false}
				g := New(kept.config(Config{RampUp: true, Uplink: u.state, Now: wall}))
				time.Sleep(time.Minute)
				u = uplink{wall(), true}
				if g.Look(); g.Status().Ramping != test.want {
					t.Errorf("%+v", g.Status())
				}
				time.Sleep(2 * time.Minute)
				g.Look()
				time.Sleep(SaveInterval + time.Second)
				if m, _, _ := kept.get(); test.now.Year() >= firstYear && wall().Sub(m.UpAt) > 30*time.Second {
					t.Errorf("remembered %s", m.UpAt)
				}
				g.Close()
			})
		})
	}
}

// A machine that never has a set clock and is switched off every night: its day of 24
// hours ends all the same, after 24 hours of running.
func TestBudgetOfShortDaysWithoutAClock(t *testing.T) {
	c := Config{DailyBytes: 1000, Save: func(Memory, bool) {}}
	unset := time.Date(1970, 1, 1, 0, 1, 0, 0, time.UTC)
	memory := Memory{Used: 1000}
	for day := range 4 {
		g := &Gate{cfg: c}
		g.cfg.Load = func() Memory { return memory }
		h := &g.hours
		h.load(&g.cfg)
		began := time.Now()
		for hour := range 9 {
			h.look(&c, unset.Add(time.Duration(hour)*time.Hour), began.Add(time.Duration(hour)*time.Hour))
			if open, want := h.open(&c), day*8+hour >= 24; open != want {
				t.Errorf("day %d, hour %d: open is %t", day, hour, open)
			}
			g.save(true)
			memory = h.saved
		}
	}
	if memory.Used != 0 || memory.Unset != 8*time.Hour {
		t.Errorf("%+v", memory)
	}
}
