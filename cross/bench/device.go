package main

import (
	"os"

	"cistern/segstore/vfs"
)

// device is the file system a setting runs on.
func device(s Setting) vfs.FS {
	if s.Card {
		return vfs.NewSlowCard(vfs.OS)
	}
	return vfs.OS
}

// cardDir returns a new folder in RAM for cells on the simulated card: below
// it nothing should take time but the card.
func cardDir() (string, error) {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err != nil || !info.IsDir() {
		return os.MkdirTemp("", "cistern-bench-")
	}
	return os.MkdirTemp(shm, "cistern-bench-")
}
