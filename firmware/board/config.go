package board

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Limits of a configuration.
const (
	OffsetMax     = 1023 // of a line on its chip
	NameMax       = 64   // bytes of a chip's or an LED's name
	SettleMin     = time.Millisecond
	SettleMax     = 2 * time.Second // what it costs is time that the UPS has left
	SettleDefault = 50 * time.Millisecond
	HoldMin       = 500 * time.Millisecond // shorter, and a bump is a hold
	HoldMax       = 30 * time.Second
	HoldDefault   = 3 * time.Second
)

// Pull is the resistor that keeps a line's level while nothing drives it.
type Pull string

const (
	PullNone Pull = "" // as the board has it
	PullUp   Pull = "up"
	PullDown Pull = "down"
)

// Line is one GPIO line.
type Line struct {
	Chip      string // the label or the device of its chip: "pinctrl-rp1", "gpiochip0"
	Offset    int    // on that chip; NOT the number of a pin on a header
	ActiveLow bool   // "on" is the low level
	Pull      Pull   // of an input
}

// PowerFail is a line that is active while there is no power from outside: the
// output of a UPS HAT, or of a supervisor before a capacitor.
type PowerFail struct {
	Line
	Settle time.Duration // how long a level must hold still; 0: SettleDefault
}

// Button is a line that is active while somebody presses.
type Button struct {
	Line
	Hold time.Duration // how long until it counts; 0: HoldDefault
}

// LED is the status LED: one that the kernel has a name for, or a line.
type LED struct {
	Name string // in /sys/class/leds: "ACT", "led0"
	Line *Line
}

// Config says what of the board is used. Its zero value uses nothing.
type Config struct {
	Root      string // of sys and proc; "" is "/". Lines are always the machine's own
	PowerFail *PowerFail
	Button    *Button
	LED       *LED
}

// Check tells what is wrong with a configuration, whatever board it is for.
func (c *Config) Check() error {
	var errs []error
	if c.PowerFail != nil {
		errs = append(errs, named("power fail", c.PowerFail.Check()))
	}
	if c.Button != nil {
		errs = append(errs, named("button", c.Button.Check()))
	}
	if c.LED != nil {
		errs = append(errs, named("led", c.LED.Check()))
	}
	return errors.Join(append(errs, c.shared())...)
}

// shared finds a line that is used twice. The kernel would give it to one only;
// two names of a chip can't be told here, and are a Problem later.
func (c *Config) shared() error {
	type use struct {
		what string
		line Line
	}
	var uses []use
	if c.PowerFail != nil {
		uses = append(uses, use{"power fail", c.PowerFail.Line})
	}
	if c.Button != nil {
		uses = append(uses, use{"button", c.Button.Line})
	}
	if c.LED != nil && c.LED.Line != nil {
		uses = append(uses, use{"led", *c.LED.Line})
	}
	for i, a := range uses {
		for _, b := range uses[:i] {
			if a.line.Chip == b.line.Chip && a.line.Offset == b.line.Offset {
				return fmt.Errorf("%s and %s are both %s: each needs a line of its own", b.what, a.what, a.line)
			}
		}
	}
	return nil
}

func named(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// String names the line as messages do.
func (l Line) String() string { return fmt.Sprintf("line %d of %s", l.Offset, l.Chip) }

// Check tells what is wrong with a line.
func (l *Line) Check() error {
	if err := checkName(strings.TrimPrefix(l.Chip, "/dev/"), "chip", "the label or the device of a GPIO chip"); err != nil {
		return err
	}
	if l.Offset < 0 || l.Offset > OffsetMax {
		return fmt.Errorf("line %d: a chip's lines are numbered from 0 to %d at most", l.Offset, OffsetMax)
	}
	switch l.Pull {
	case PullNone, PullUp, PullDown:
		return nil
	}
	return fmt.Errorf("pull %q: there are \"up\", \"down\", and \"\" to leave it as the board has it", l.Pull)
}

// Check tells what is wrong with a power-fail input.
func (p *PowerFail) Check() error {
	if err := p.Line.Check(); err != nil {
		return err
	}
	return checkTime(p.Settle, SettleMin, SettleMax, "settle")
}

// Check tells what is wrong with a button.
func (b *Button) Check() error {
	if err := b.Line.Check(); err != nil {
		return err
	}
	return checkTime(b.Hold, HoldMin, HoldMax, "hold")
}

// Check tells what is wrong with an LED.
func (l *LED) Check() error {
	switch {
	case l.Name != "" && l.Line != nil:
		return fmt.Errorf("it has both a name (%q) and a %s: choose one", l.Name, l.Line)
	case l.Line != nil:
		return l.Line.Check()
	}
	return checkName(l.Name, "name", "the LED's folder in /sys/class/leds")
}

// checkName holds a name to what can be one entry of a folder.
func checkName(name, key, what string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s is missing: %s; `cistern board` shows what there is", key, what)
	case len(name) > NameMax:
		return fmt.Errorf("%s has %d bytes: %d at most", key, len(name), NameMax)
	case name == "." || name == ".." || strings.ContainsAny(name, "/\x00\n"):
		return fmt.Errorf("%s %q: %s, without a folder", key, name, what)
	}
	return nil
}

func checkTime(d, low, high time.Duration, key string) error {
	if d != 0 && (d < low || d > high) {
		return fmt.Errorf("%s %v: from %v to %v", key, d, low, high)
	}
	return nil
}
