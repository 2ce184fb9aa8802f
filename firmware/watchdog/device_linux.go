package watchdog

import (
	"bytes"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// disableCard is WDIOS_DISABLECARD.
const disableCard = 1

// character is the kernel's watchdog device.
type character struct{ f *os.File }

func openDevice(path string) (device, error) {
	// Without O_CREATE: where there is no watchdog there must not be a file
	// afterwards that looks like one. O_NONBLOCK changes nothing for a watchdog,
	// and keeps the open of a pipe by that name from waiting.
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		var p *os.PathError
		if errors.As(err, &p) {
			err = p.Err // the path is said by who tells
		}
		return nil, err
	}
	return character{f}, nil
}

func isBusy(err error) bool { return errors.Is(err, unix.EBUSY) }

func (c character) fd() int { return int(c.f.Fd()) }

func (c character) support() (identity string, options uint32, err error) {
	info, err := unix.IoctlGetWatchdogInfo(c.fd())
	if err != nil {
		return "", 0, err
	}
	name, _, _ := bytes.Cut(info.Identity[:], []byte{0})
	return string(name), info.Options, nil
}

func (c character) setTimeout(seconds int) error {
	return unix.IoctlSetPointerInt(c.fd(), unix.WDIOC_SETTIMEOUT, seconds)
}

func (c character) timeout() (int, error) { return unix.IoctlGetInt(c.fd(), unix.WDIOC_GETTIMEOUT) }

func (c character) bootStatus() (uint32, error) {
	flags, err := unix.IoctlGetUint32(c.fd(), unix.WDIOC_GETBOOTSTATUS)
	return flags, err
}

func (c character) feed() error { return unix.IoctlWatchdogKeepalive(c.fd()) }

// disarm writes the letter that makes the next close a stop, and stops it, since
// only this tells of a watchdog that can't be stopped. Drivers that don't know
// the order still know the letter.
func (c character) disarm() error {
	if _, err := c.f.Write([]byte("V")); err != nil {
		return err
	}
	err := unix.IoctlSetPointerInt(c.fd(), unix.WDIOC_SETOPTIONS, disableCard)
	if errors.Is(err, unix.EBUSY) {
		return ErrKeepsRunning
	}
	return nil
}

func (c character) close() error { return c.f.Close() }
