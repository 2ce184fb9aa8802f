package slot

import (
	"os"

	"golang.org/x/sys/unix"
)

// DropCache makes the next reads come from the medium. Call Sync before:
// what is not written yet stays.
func (d *File) DropCache() error {
	st, err := d.f.Stat()
	if err != nil {
		return err
	}
	if st.Mode()&os.ModeDevice != 0 {
		// Also drops what other descriptors have read; needs CAP_SYS_ADMIN,
		// without which the advice below has to do.
		if err := unix.IoctlSetInt(int(d.f.Fd()), unix.BLKFLSBUF, 0); err == nil {
			return nil
		}
	}
	return unix.Fadvise(int(d.f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
