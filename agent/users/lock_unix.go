//go:build unix

package users

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock waits until nobody else edits a file in folder; closing it unlocks.
func lock(folder *os.File) error { return unix.Flock(int(folder.Fd()), unix.LOCK_EX) }
