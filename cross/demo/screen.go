package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"cistern/cross/rig"
)

// screen prints the demo. On a terminal one line moves; elsewhere nothing is
// coloured, nothing moves, and the line is printed every few seconds.
type screen struct {
	out      io.Writer
	terminal bool

	moving  string // the line that is on the screen and not yet final
	printed time.Time
}

const plainInterval = 2 * time.Second

func newScreen(f *os.File) *screen {
	info, err := f.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 &&
		os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && os.Getenv("TERM") != ""
	return &screen{out: f, terminal: terminal}
}

const (
	bold  = "1"
	dim   = "2"
	red   = "1;31"
	green = "1;32"
	cyan  = "36"
)

func (s *screen) paint(style, text string) string {
	if !s.terminal {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// act opens a part of the demo.
func (s *screen) act(title string) {
	s.settle()
	fmt.Fprintf(s.out, "\n%s\n", s.paint(bold, "▸ "+title))
}

// note says something that stays.
func (s *screen) note(format string, args ...any) {
	s.settle()
	fmt.Fprintf(s.out, "  %s\n", s.paint(dim, fmt.Sprintf(format, args...)))
}

// live shows a line that the next one replaces.
func (s *screen) live(line string) {
	s.moving = line
	if s.terminal {
		fmt.Fprintf(s.out, "\r\x1b[K  %s", line)
	} else if time.Since(s.printed) >= plainInterval {
		s.printed = time.Now()
		fmt.Fprintf(s.out, "  %s\n", line)
		s.moving = ""
	}
}

const barCells = 24

// progress is live with a bar.
func (s *screen) progress(line string, done, all int64) {
	filled := barCells
	if all > 0 {
		filled = int(barCells * done / all)
	}
	bar := strings.Repeat("█", filled) + strings.Repeat("░", barCells-filled)
	s.live(line + "   " + s.paint(cyan, bar))
}

// settle makes the moving line stay.
func (s *screen) settle() {
	if s.moving == "" {
		return
	}
	if s.terminal {
		fmt.Fprintln(s.out)
	} else {
		fmt.Fprintf(s.out, "  %s\n", s.moving)
	}
	s.moving, s.printed = "", time.Time{}
}

// verdict prints the table the demo is for.
func (s *screen) verdict(v rig.Verdict) {
	s.settle()
	must := func(n int64) string {
		if n == 0 {
			return s.paint(green, fmt.Sprintf("%10s", count(n)))
		}
		return s.paint(red, fmt.Sprintf("%10s", count(n)))
	}
	row := func(name, n, remark string) {
		fmt.Fprintf(s.out, "  │ %-14s │ %s │ %-55s │\n", name, n, remark)
	}
	plain := func(n int64) string { return fmt.Sprintf("%10s", count(n)) }
	rule := func(left, cross, right string) {
		fmt.Fprintf(s.out, "  %s%s%s%s%s%s%s\n", left, strings.Repeat("─", 16), cross, strings.Repeat("─", 12), cross, strings.Repeat("─", 57), right)
	}
	fmt.Fprintln(s.out)
	rule("┌", "┬", "┐")
	row("confirmed", plain(v.Confirmed), fmt.Sprintf("messages with a PUBACK, in %d topics", v.Topics))
	row("unconfirmed", plain(v.Abandoned), fmt.Sprintf("given up by the device at the kill; %s had been stored", count(v.Surplus)))
	row("at the centre", plain(v.Arrived), "records read from the central cluster")
	rule("├", "┼", "┤")
	row("lost", must(v.Lost), "confirmed, and not at the centre")
	row("duplicated", must(v.Duplicated), "at the centre more than once")
	row("out of order", must(v.Disordered), "after a newer message of the same topic")
	rule("└", "┴", "┘")
	switch {
	case v.Invented > 0:
		fmt.Fprintf(s.out, "  %s\n", s.paint(red, fmt.Sprintf("✗ %s records at the centre are not what was published; %s", count(v.Invented), v.Example)))
	case !v.Good():
		fmt.Fprintf(s.out, "  %s\n", s.paint(red, "✗ the promise is broken; "+v.Example))
	default:
		fmt.Fprintf(s.out, "  %s\n", s.paint(green, "✓ every confirmed message is there, once, in order"))
	}
}

// count writes 1234567 as 1,234,567.
func count(n int64) string {
	if n < 0 {
		return "-" + count(-n)
	}
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
