package board

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/driver/driverreg"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/host/v3/gpioioctl"
)

// deviceGlob finds the chips; gpioioctl knows no other place.
const deviceGlob = "/dev/gpiochip*"

// openLine finds a line on its chip.
func openLine(l Line) (pin, func(), error) {
	if err := findChips(); err != nil {
		return nil, nil, err
	}
	chip, err := findChip(l.Chip)
	if err != nil {
		return nil, nil, err
	}
	if l.Offset >= chip.LineCount() {
		return nil, nil, fmt.Errorf("the chip has lines 0 to %d", chip.LineCount()-1)
	}
	p := chip.ByNumber(l.Offset)
	if user := p.Consumer(); user != "" {
		return nil, nil, fmt.Errorf("the line is in use by %q", user)
	}
	return charLine{p}, p.Close, nil
}

// charLine is a line of the character device.
type charLine struct{ *gpioioctl.GPIOLine }

// In makes what the first WaitForEdge would make, and what Halt, on another
// goroutine, looks for without a lock. An edge that this wait sees is one that the
// level tells of as well.
func (l charLine) In(pull gpio.Pull, edge gpio.Edge) error {
	err := l.GPIOLine.In(pull, edge)
	if err == nil && edge != gpio.NoEdge {
		l.WaitForEdge(time.Nanosecond)
	}
	return err
}

// findChips makes gpioioctl open every chip there is, once: it has no other way.
// Two paths through it close files that are not its own, which a process with a
// journal can't have:
//
//   - a chip that can be opened and then can't be asked is left to the garbage
//     collector with two os.Files over one descriptor, so the second closes
//     whatever has the number by then: asked here first, and no chip is opened
//     if one of them can't be;
//   - a chip with two names (Raspberry Pi OS has /dev/gpiochip4 point to
//     gpiochip0 on a Pi 5) is closed twice, and then descriptor 0 is. The next
//     line would get that number, which gpioioctl takes for none, and never tell
//     of an edge (cross/board sees to it): Open comes before other files do, and
//     descriptor 0 is put back.
var findChips = sync.OnceValue(func() error {
	paths, err := filepath.Glob(deviceGlob)
	if err != nil || len(paths) == 0 {
		return errors.New("this machine shows no GPIO chip (" + deviceGlob + "): is it a board with one, is CONFIG_GPIO_CDEV in its kernel?")
	}
	for _, path := range paths {
		if err := askLine(path); err != nil {
			return err
		}
	}
	stdin, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fmt.Errorf("keeping standard input: %w", err)
	}
	defer unix.Close(stdin)
	_, err = driverreg.Init()
	if _, lost := unix.FcntlInt(0, unix.F_GETFD, 0); lost != nil {
		err = errors.Join(err, unix.Dup3(stdin, 0, 0))
	}
	return err
})

// findChip finds a chip by its label or its device.
func findChip(name string) (*gpioioctl.GPIOChip, error) {
	device := strings.TrimPrefix(name, "/dev/")
	if real, err := filepath.EvalSymlinks("/dev/" + device); err == nil {
		device = filepath.Base(real)
	}
	var found []*gpioioctl.GPIOChip
	var have []string
	for _, c := range gpioioctl.Chips {
		have = append(have, fmt.Sprintf("%s (%s)", c.Label(), c.Name()))
		if c.Name() == device {
			return c, nil
		}
		if c.Label() == name {
			found = append(found, c)
		}
	}
	slices.Sort(have)
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("there is no such chip; there are: %s", strings.Join(have, ", "))
	}
	return nil, fmt.Errorf("%d chips have this label: name it by its device; there are: %s", len(found), strings.Join(have, ", "))
}

// inUse explains what the kernel says of a line that somebody else has.
// gpioioctl keeps the words and loses the number.
func inUse(err error) error {
	if err != nil && strings.Contains(err.Error(), unix.EBUSY.Error()) {
		return fmt.Errorf("somebody else has the line (a driver of the kernel, an overlay, another program): %w", err)
	}
	return err
}

// askLine makes sure that a chip speaks the second version of the interface.
func askLine(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return permission(err)
	}
	defer f.Close()
	if _, err := askChip(f); err != nil {
		return err
	}
	var line unix.GPIOV2LineInfo
	if err := ioctl(f, unix.GPIO_V2_GET_LINEINFO_IOCTL, unsafe.Pointer(&line)); err != nil {
		return fmt.Errorf("%s: %w: GPIO needs Linux 5.10 or newer", path, err)
	}
	return nil
}

// chipInfo asks a chip for its name, without taking any of its lines.
func chipInfo(path string) (label string, lines int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, permission(err)
	}
	defer f.Close()
	info, err := askChip(f)
	if err != nil {
		return "", 0, err
	}
	name, _, _ := bytes.Cut(info.Label[:], []byte{0})
	return string(name), int(info.Lines), nil
}

// getChipInfo is GPIO_GET_CHIPINFO_IOCTL, which x/sys lacks.
const getChipInfo = 0x8044b401

func askChip(f *os.File) (*unix.GPIOChipInfo, error) {
	info := new(unix.GPIOChipInfo)
	if err := ioctl(f, getChipInfo, unsafe.Pointer(info)); err != nil {
		return nil, fmt.Errorf("%s: is no GPIO chip: %w", f.Name(), err)
	}
	return info, nil
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

func permission(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: add the user to the group that has it, often gpio (docs/install-pi.md)", err)
	}
	return err
}
