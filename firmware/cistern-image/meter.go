package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"cistern/firmware/flash"
)

// meter shows how far something is: a line that changes on a terminal, else a
// line every tenth.
type meter struct {
	w        io.Writer
	terminal bool
	step     string
	began    time.Time
	shown    time.Time
	tenth    int64
	open     bool // the line has no end yet
}

// lineEvery is how often a terminal's line changes.
const lineEvery = 200 * time.Millisecond

func newMeter(w io.Writer) *meter {
	m := &meter{w: w}
	if f, ok := w.(*os.File); ok {
		st, err := f.Stat()
		m.terminal = err == nil && st.Mode()&os.ModeCharDevice != 0
	}
	return m
}

func (m *meter) show(step string, done, total int64) {
	now := time.Now()
	if step != m.step {
		m.end()
		m.step, m.began, m.tenth = step, now, 0
	}
	tenth := done * 10 / total
	if m.terminal && now.Sub(m.shown) < lineEvery && done < total || !m.terminal && tenth == m.tenth {
		return
	}
	m.shown, m.tenth = now, tenth
	line := fmt.Sprintf("%s: %3d %%", step, done*100/total)
	if spent := now.Sub(m.began).Seconds(); spent >= 1 {
		rate := float64(done) / spent
		line += fmt.Sprintf(", %s/s, %.0f s left", flash.Size(int64(rate)), float64(total-done)/rate)
	}
	if m.terminal {
		fmt.Fprintf(m.w, "\r\033[K%s", line)
		m.open = true
		return
	}
	fmt.Fprintln(m.w, line)
}

// end closes the line.
func (m *meter) end() {
	if m.open {
		fmt.Fprintln(m.w)
	}
	m.open = false
}
