package config

import (
	"path/filepath"
	"time"

	"cistern/firmware/board"
	"cistern/firmware/machine"
	"cistern/firmware/watchdog"
)

const (
	lookEveryMin = 10 * time.Second
	lookEveryMax = time.Hour // what is counted by card would be lost in larger pieces
	offAfterMax  = time.Hour
)

func readBoard(t *table, b *Board) {
	t.duration("look_every", &b.LookEvery, lookEveryMin, lookEveryMax)
	t.text("watchdog", &b.Watchdog)
	if b.Watchdog != "" && !filepath.IsAbs(b.Watchdog) {
		t.fail("watchdog", "", "is %q; must be a device like \"/dev/watchdog\"", b.Watchdog)
	}
	t.duration("watchdog_timeout", &b.WatchdogTimeout, watchdog.TimeoutMin, watchdog.TimeoutMax)
	readPowerFail(t.table("power_fail"), &b.PowerFail)
	readButton(t.table("button"), &b.Button)
	readLED(t.table("led"), &b.LED)
	t.done()
	w := b.Wiring()
	if err := w.Check(); err != nil && len(t.doc.errors) == 0 { // a line used twice
		t.doc.fail(t.path, "", "%s", err)
	}
}

func readPowerFail(t *table, p *PowerFail) {
	t.line(&p.Line)
	t.pull(&p.Pull)
	t.duration("settle", &p.Settle, board.SettleMin, board.SettleMax)
	t.duration("off_after", &p.OffAfter, 0, offAfterMax)
	t.needs("chip")
	t.done()
}

func readButton(t *table, b *Button) {
	t.line(&b.Line)
	t.pull(&b.Pull)
	t.duration("hold", &b.Hold, board.HoldMin, board.HoldMax)
	t.needs("chip")
	t.done()
}

func readLED(t *table, l *LED) {
	t.text("name", &l.Name)
	t.line(&l.Line)
	if l.Name != "" {
		if l.Line.Chip != "" {
			t.fail("name", "keep one of them", "names an LED, and so do chip and line")
		} else if err := (&board.LED{Name: l.Name}).Check(); err != nil {
			t.fail("name", "", "%s", err)
		}
	}
	if !t.has("chip") {
		t.needs("name")
	}
	t.done()
}

// line takes what names a GPIO line. A line that is not named is not guessed.
func (t *table) line(l *board.Line) {
	t.text("chip", &l.Chip)
	t.integer("line", &l.Offset, 0, board.OffsetMax)
	active := "high"
	if l.ActiveLow {
		active = "low"
	}
	t.text("active", &active, "low", "high")
	l.ActiveLow = active == "low"
	if l.Chip == "" {
		return
	}
	if err := l.Check(); err != nil {
		t.fail("chip", "", "%s", err)
	} else if !t.has("line") {
		t.fail("chip", "add line = N; `gpioinfo` or the board's manual tells which", "names a chip, and no line of it")
	}
}

func (t *table) pull(p *board.Pull) {
	word := string(*p)
	t.text("pull", &word, string(board.PullNone), string(board.PullUp), string(board.PullDown))
	*p = board.Pull(word)
}

// needs reports a table that says something about nothing.
func (t *table) needs(key string) {
	if len(t.values) > 0 && !t.has(key) {
		t.doc.fail(t.path, "`cistern board` shows what there is", "%s is missing", key)
	}
}

// readMachine checks what the first process of an image reads for itself.
func readMachine(t *table) {
	values := map[string]any{}
	for _, key := range machine.Keys() {
		if v, _, ok := t.take(key); ok {
			values[key] = v
		}
	}
	_, problems := machine.Read(values)
	for _, p := range problems {
		t.fail(p.Key, p.Hint, "%s", p.Problem)
	}
	t.done()
}
