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
	link := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
	dir, err := os.Readlink(link)
	if err != nil {
		return "", fmt.Errorf("%s: %w: %w", path, ErrNoDevice, err)
	}
	return filepath.Base(dir), nil
}

// Open opens a device that nobody else uses: the kernel refuses it when it is
// mounted, swapped to or held, whatever was found out before.
func Open(path string) (*slot.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("%w: the kernel says that something uses it", err)
	case err != nil:
		return nil, err
	}
	return slot.NewFile(f), nil
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
