package board

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"periph.io/x/conn/v3/gpio"
)

// lamp is a light that can be switched.
type lamp interface {
	set(on bool) error
	close() error // gives it back
}

// Show shows a pattern from now on, from its beginning. To show what is shown
// changes nothing, so that it may be said as often as one likes.
func (b *Board) Show(p Pattern) {
	b.mu.Lock()
	same := b.pattern == p || !p.valid()
	if !same {
		b.pattern = p
	}
	b.mu.Unlock()
	if !same {
		select {
		case b.changed <- struct{}{}:
		default: // it is known already that there is another
		}
	}
}

// Shown is the pattern that is shown.
func (b *Board) Shown() Pattern {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pattern
}

// play shows the pattern, step by step.
func (b *Board) play(ctx context.Context) {
	next := time.NewTimer(0)
	defer next.Stop()
	for step := 0; ; step++ {
		steps := shapes[b.Shown()].Steps
		b.problem("led", b.lamp.set(len(steps) > 0 && step%2 == 0))
		if len(steps) > 0 {
			next.Reset(steps[step%len(steps)])
		} else {
			next.Stop()
		}
		select {
		case <-ctx.Done():
			return
		case <-b.changed:
			step = -1
		case <-next.C:
		}
	}
}

// lineLamp is an LED at a GPIO line.
type lineLamp struct {
	pin       pin
	line      Line
	activeLow bool
	release   func()
}

func openLineLamp(l Line, lines opener) (lamp, error) {
	p, release, err := lines(l)
	if err != nil {
		return nil, named(l.String(), err)
	}
	lamp := &lineLamp{p, l, l.ActiveLow, release}
	if err := lamp.set(false); err != nil {
		release()
		return nil, inUse(err)
	}
	return lamp, nil
}

func (l *lineLamp) set(on bool) error {
	return named(l.line.String(), l.pin.Out(gpio.Level(on != l.activeLow)))
}

func (l *lineLamp) close() error {
	err := l.set(false)
	l.release()
	return err
}

// namedLamp is an LED that the kernel has a name for.
type namedLamp struct {
	dir        string
	full       string // what its brightness is when it is on
	trigger    string // what drove it before
	brightness string // and how bright it was then
}

// ledsDir is where the kernel has its LEDs.
const ledsDir = "sys/class/leds"

// openNamed takes an LED away from what drives it.
func openNamed(root, name string) (lamp, error) {
	l := &namedLamp{dir: in(root, ledsDir, name)}
	if _, err := os.Stat(l.dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no LED %q (%s); there are: %s", name, l.dir, strings.Join(ledNames(root), ", "))
	}
	full, err := number(filepath.Join(l.dir, "max_brightness"), 10)
	if err != nil {
		return nil, err
	}
	if full == 0 {
		return nil, fmt.Errorf("%s: its greatest brightness is 0", l.dir)
	}
	l.full = strconv.FormatUint(full, 10)
	if l.brightness, err = value(filepath.Join(l.dir, "brightness")); err != nil {
		return nil, err
	}
	if l.trigger, err = trigger(l.dir); err != nil {
		return nil, err
	}
	if err := l.write("trigger", "none"); err != nil {
		return nil, err
	}
	if err := l.set(false); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// trigger tells what drives an LED: the word in brackets of all there are.
func trigger(dir string) (string, error) {
	text, err := value(filepath.Join(dir, "trigger"))
	if err != nil {
		return "", err
	}
	for _, word := range strings.Fields(text) {
		if len(word) > 2 && word[0] == '[' {
			return clean(strings.TrimSuffix(word[1:], "]")), nil
		}
	}
	return "none", nil
}

func (l *namedLamp) set(on bool) error {
	if on {
		return l.write("brightness", l.full)
	}
	return l.write("brightness", "0")
}

func (l *namedLamp) close() error {
	err := l.write("brightness", l.brightness)
	if l.trigger != "none" {
		err = errors.Join(err, l.write("trigger", l.trigger))
	}
	return err
}

// write never makes a file: an LED that is gone must not become a folder entry.
func (l *namedLamp) write(name, text string) error {
	f, err := os.OpenFile(filepath.Join(l.dir, name), os.O_WRONLY|os.O_TRUNC, 0)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) { // the latter by systemd's ProtectKernelTunables
		return fmt.Errorf("%w: give the user of the agent the right to write it (docs/install-pi.md)", err)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
