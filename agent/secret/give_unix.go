//go:build unix

package secret

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Give gives file, which root has made, to the owner of like; where there is no
// like, to the owner of the folder it is to be in. For anybody but root, who can
// give nothing away, it does nothing.
func Give(file, like string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Lstat(like)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = os.Stat(filepath.Dir(like))
	}
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: nobody can tell who owns it", like)
	}
	return give(file, int(owner.Uid), int(owner.Gid))
}

// give looks at what it gives away: the folder may be another's, who could put a
// file of root's own in its place.
func give(file string, uid, gid int) (err error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); !ok || !info.Mode().IsRegular() || s.Uid != 0 || s.Nlink != 1 {
		return fmt.Errorf("%s is no longer the file that root has made there", file)
	}
	return f.Chown(uid, gid)
}
