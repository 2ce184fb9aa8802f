package agent

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// syncFileSystem returns when the file system that dir lies on has nothing left to
// write.
func syncFileSystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("syncfs %s: %w", dir, err)
	}
	return nil
}
