package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"cistern/firmware/board"
)

func TestBoard(t *testing.T) {
	c, err := Parse("f", []byte(`
[board]
look_every = "5m"
watchdog = "/dev/watchdog1"
watchdog_timeout = "30s"
power_fail = { chip = "gpiochip0", line = 4, active = "high", pull = "down", settle = "1ms", off_after = "0" }
button = { chip = "pinctrl-bcm2711", line = 3, hold = "5s" }
led = { chip = "gpiochip0", line = 17 }
`))
	if err != nil {
		t.Fatal(err)
	}
	if b := c.Board; b.LookEvery != 5*time.Minute || b.Watchdog != "/dev/watchdog1" || b.WatchdogTimeout != 30*time.Second || b.PowerFail.OffAfter != 0 {
		t.Errorf("%+v", b)
	}
	want := board.Config{
		PowerFail: &board.PowerFail{Line: board.Line{Chip: "gpiochip0", Offset: 4, Pull: board.PullDown}, Settle: time.Millisecond},
		Button:    &board.Button{Line: board.Line{Chip: "pinctrl-bcm2711", Offset: 3, ActiveLow: true, Pull: board.PullUp}, Hold: 5 * time.Second},
		LED:       &board.LED{Line: &board.Line{Chip: "gpiochip0", Offset: 17}},
	}
	if got := c.Board.Wiring(); !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
	if c, err = Parse("f", []byte("board.led.name = 'ACT'")); err != nil || !reflect.DeepEqual(c.Board.Wiring(), board.Config{LED: &board.LED{Name: "ACT"}}) {
		t.Errorf("%+v, %v", c.Board.Wiring(), err)
	}
	none := Default()
	if w := none.Board.Wiring(); w != (board.Config{}) {
		t.Errorf("without a word %+v is used", w)
	}
}

func TestBoardErrors(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"unknown":          {"[board]\nwatchdgo = 'x'", `f:2:1: board.watchdgo: unknown key (did you mean "watchdog"?)`},
		"watchdog":         {"[board]\nwatchdog = 'watchdog'", `f:2:1: board.watchdog: is "watchdog"; must be a device like "/dev/watchdog"`},
		"watchdog timeout": {"[board]\nwatchdog_timeout = '1s'", `allowed are 2s to 10m`},
		"look":             {"[board]\nlook_every = '1s'", `allowed are 10s to 1h`},
		"no chip":          {"[board.button]\nhold = '2s'", "f:1:8: board.button: chip is missing (`cistern board` shows what there is)"},
		"no line":          {"[board.power_fail]\nchip = 'gpiochip0'", `f:2:1: board.power_fail.chip: names a chip, and no line of it`},
		"chip":             {"[board.power_fail]\nchip = '/sys/x'\nline = 1", `f:2:1: board.power_fail.chip: chip "/sys/x"`},
		"line":             {"[board.led]\nchip = 'gpiochip0'\nline = 5000", `f:3:1: board.led.line: is 5000; allowed are 0 to 1023`},
		"pull":             {"[board.button]\nchip = 'c'\nline = 1\npull = 'Up'", `f:4:1: board.button.pull: is "Up"; allowed are "", "up", "down" (did you mean "up"?)`},
		"active":           {"[board.button]\nchip = 'c'\nline = 1\nactive = 0", `f:4:1: board.button.active: is the number 0; must be a string: "low", "high"`},
		"settle":           {"[board.power_fail]\nchip = 'c'\nline = 1\nsettle = '5s'", `allowed are 1ms to 2s`},
		"hold":             {"[board.button]\nchip = 'c'\nline = 1\nhold = '10ms'", `allowed are 500ms to 30s`},
		"two LEDs":         {"[board.led]\nname = 'ACT'\nchip = 'c'\nline = 1", `f:2:1: board.led.name: names an LED, and so do chip and line`},
		"LED":              {"[board.led]\nname = 'a/b'", `f:2:1: board.led.name: name "a/b"`},
		"shared":           {"[board]\nbutton = {chip = 'c', line = 1}\nled = {chip = 'c', line = 1}", `f:1:2: board: button and led are both line 1 of c`},
		"machine key":      {"[machine]\nhostnam = 'x'", `f:2:1: machine.hostnam: unknown key (did you mean "hostname"?)`},
		"machine address":  {"[machine]\naddress = '10.0.0.5'", `f:2:1: machine.address: is "10.0.0.5", which is no address with a length (say "dhcp"`},
		"machine router":   {"[machine]\nrouter = '10.0.0.1'", `f:2:1: machine.router: means something only with a fixed address`},
		"machine type":     {"[machine]\nhostname = 5", `f:2:1: machine.hostname: must be a string`},
		"no machine":       {"machine = 5", `f:1:1: machine: is the number 5; must be a table: [machine]`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("f", []byte(test.text))
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("\n got %s\nwant %s", err, test.want)
			}
		})
	}
}
