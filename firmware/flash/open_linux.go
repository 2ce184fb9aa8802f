package flash

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"cistern/firmware/slot"
)

// Find gives the name of the block device that path, or a link to it, is.
func Find(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Stat(real, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: real, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", fmt.Errorf("%s: %w", path, ErrNoDevice)
	}
	// By its number: /dev may have other names for it.
	dir, err := os.Readlink("/sys/dev/block/" + number(st))
	if err != nil {
		return "", fmt.Errorf("%s: %w: %w", path, ErrNoDevice, err)
	}
	return filepath.Base(dir), nil
}

func number(st unix.Stat_t) string {
	return fmt.Sprintf("%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
}

// ErrChanged is found in the error of who opens another device than the one
// that was looked at.
var ErrChanged = errors.New("is another device now than the one that was shown; nothing was written")

// Open opens the device that was seen, if nobody else uses it: the kernel
// refuses it when it is mounted, swapped to or held, whatever was found out
// before. While somebody was asked, the card may have been pulled, and its name
// have gone to the next disk: so it is looked at once more, now that it is held.
func Open(path string, seen Device) (*slot.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("%w: the kernel says that something uses it", err)
	case err != nil:
		return nil, err
	}
	if err := sameOpen(f, seen); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return slot.NewFile(f), nil
}

func sameOpen(f *os.File, seen Device) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	now, err := Look("/", seen.Name)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK || number(st) != now.Number || !seen.Same(now) {
		return ErrChanged
	}
	return nil
}

// Reread has the kernel look at the new partitions. It may refuse, then the
// card has to be taken out and put in again, which happens anyway.
func Reread(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0)
}
