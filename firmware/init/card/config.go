package card

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"cistern/firmware/slot"
)

// ConfigFolder is what an operator edits, on the boot partition.
const ConfigFolder = "cistern"

// Limits of it. It is copied to memory.
const (
	filesMax     = 64
	fileBytesMax = 4 << 20
	allBytesMax  = 8 << 20
)

// CopyConfig copies the operator's files from the boot partition to a folder
// that is there, for a user of its own. The partition is read without mounting
// it: nothing of it can be written by accident, and no kernel code parses what
// anybody's laptop has left there. A file that can't be taken is in the error;
// the others are copied all the same.
func CopyConfig(card io.ReaderAt, to string, uid, gid int) (copied int, err error) {
	f, err := slot.OpenFAT(io.NewSectionReader(card, slot.BootStart, slot.BootBytes))
	if err != nil {
		return 0, err
	}
	entries, err := f.List(ConfigFolder)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("the boot partition %s has no folder %q; the defaults are used", slot.BootLabel, ConfigFolder)
	}
	if err != nil {
		return 0, err
	}
	var failed []error
	total := int64(0)
	for _, e := range entries {
		switch {
		case e.Folder || !wanted(e.Name):
			continue
		case copied == filesMax:
			return copied, errors.Join(append(failed, fmt.Errorf("%s: more than %d files; the rest is not taken", ConfigFolder, filesMax))...)
		case total+e.Bytes > allBytesMax:
			failed = append(failed, fmt.Errorf("%s/%s: all files together have more than %d bytes", ConfigFolder, e.Name, allBytesMax))
			continue
		}
		if err := copyFile(f, e.Name, to, uid, gid); err != nil {
			failed = append(failed, err)
			continue
		}
		copied, total = copied+1, total+e.Bytes
	}
	return copied, errors.Join(failed...)
}

func copyFile(f *slot.FAT, name, to string, uid, gid int) error {
	content, err := f.ReadFile(ConfigFolder+"/"+name, fileBytesMax)
	if err != nil {
		return err
	}
	path := filepath.Join(to, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}
	return os.Chown(path, uid, gid)
}

// wanted leaves out what laptops put into every folder, and names that are no
// names of files here.
func wanted(name string) bool {
	return name != "" && name[0] != '.' && !strings.ContainsAny(name, "/\x00") && !strings.HasSuffix(name, "~")
}
