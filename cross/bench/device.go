package main

import (
	"cistern/segstore/vfs"
)

// device is the file system a setting runs on.
func device(s Setting) vfs.FS {
	return vfs.OS
}
