package main

import (
	"strings"
	"testing"

	"cistern/agent/config"
	"cistern/firmware/board"
)

// What is offered must be taken, the examples as well.
func TestBoardFits(t *testing.T) {
	pi := &board.Report{
		Watchdogs: []board.Watchdog{{Device: "watchdog0"}},
		LEDs:      []board.LEDFound{{Name: "PWR"}, {Name: "ACT"}},
		Chips:     []board.Chip{{Device: "gpiochip0", Label: "raspberrypi-exp-gpio", Lines: 8}, {Device: "gpiochip1", Label: "pinctrl-bcm2711", Lines: 58}},
	}
	for name, text := range map[string]string{
		"as it is":          boardFits(pi),
		"with the examples": strings.ReplaceAll(strings.ReplaceAll(boardFits(pi), "# [", "["), "# ", ""),
	} {
		// The prose is a comment in the file, and none without its mark.
		var lines []string
		for line := range strings.Lines(text) {
			if strings.ContainsAny(line, "=[#") && !strings.Contains(line, "RuntimeWatchdogSec") || strings.TrimSpace(line) == "" {
				lines = append(lines, line)
			}
		}
		c, err := config.Parse(name, []byte(strings.Join(lines, "")))
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		w := c.Board.Wiring()
		if c.Board.Watchdog != "/dev/watchdog" || w.LED == nil || w.LED.Name != "ACT" {
			t.Errorf("%s: %+v", name, c.Board)
		}
		if name == "as it is" {
			if w.PowerFail != nil || w.Button != nil {
				t.Errorf("a line is used that nobody has named: %+v", w)
			}
		} else if w.PowerFail == nil || w.PowerFail.Chip != "pinctrl-bcm2711" || w.Button == nil || w.Button.Offset != 27 {
			t.Errorf("%s: %+v", name, w)
		}
	}
	if s := boardFits(&board.Report{Watchdogs: []board.Watchdog{{Active: true}}, LEDs: []board.LEDFound{{Name: "input0::capslock"}}}); s != "" {
		t.Errorf("for a machine with nothing to use:\n%s", s)
	}
}

func TestHeaderChip(t *testing.T) {
	for want, chips := range map[string][]board.Chip{
		"":            nil,
		"gpiochip0":   {{Device: "gpiochip0"}, {Device: "gpiochip1", Label: "b"}},
		"a":           {{Device: "gpiochip0", Label: "a"}, {Device: "gpiochip1", Label: "b"}},
		"gpiochip3":   {{Device: "gpiochip3", Label: "x"}, {Device: "gpiochip4", Label: "x"}},
		"pinctrl-rp1": {{Device: "gpiochip10", Label: "gpio-brcmstb"}, {Device: "gpiochip11", Label: "gpio-brcmstb"}, {Device: "gpiochip0", Label: "pinctrl-rp1"}},
	} {
		if got := headerChip(chips); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestBoardLines(t *testing.T) {
	for want, s := range map[string]board.Supply{
		"fine": {},
		"under-voltage and slowed down: a stronger supply, a shorter cable, or more air":   {UnderVoltage: true, UnderVoltageOnce: true, Throttled: true, ThrottledOnce: true},
		"fine; under-voltage since boot: a stronger supply, a shorter cable, or more air":  {UnderVoltageOnce: true},
		"slowed down; under-voltage since boot: a stronger supply, a shorter cable, or mo": {UnderVoltageOnce: true, Throttled: true, ThrottledOnce: true},
	} {
		if got := supplyLine(paint{}, &s); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for want, d := range map[string]board.Disk{"-": {}, "0 to 10 %": {LifeA: 10}, "80 to 90 %": {LifeA: 10, LifeB: 90}, "all of it": {LifeA: 110}} {
		if got := lifeUsed(&d); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestBoardDay(t *testing.T) {
	d := &board.Disk{Device: "mmcblk0", BytesWritten: 2 << 30}
	if got, want := dayLine(d, 12*3600, 8<<30), "mmcblk0: 4.0 GiB a day since boot, by everything on this machine; daily_write_budget is 8.0 GiB.\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, got := range []string{dayLine(d, 0, 8<<30), dayLine(d, 3600, 8<<30), dayLine(d, 12*3600, 0)} {
		if got != "" {
			t.Errorf("%q", got)
		}
	}
}
