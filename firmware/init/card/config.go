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
	c := copying{f: f, to: to, uid: uid, gid: gid}
	err = c.folder("", 0)
	if errors.Is(err, fs.ErrNotExist) && c.seen == 0 {
		return 0, fmt.Errorf("the boot partition %s has no folder %q; the defaults are used", slot.BootLabel, ConfigFolder)
	}
	return c.copied, errors.Join(append(c.failed, err)...)
}

// copying is a walk over the folder, whose limits hold for all of it.
type copying struct {
	f            *slot.FAT
	to           string
	uid, gid     int
	seen, copied int
	bytes        int64
	failed       []error
}

// folder copies what is in one, by its path in ConfigFolder with a slash behind.
func (c *copying) folder(under string, depth int) error {
	entries, err := c.f.List(ConfigFolder + "/" + under)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !wanted(e.Name) {
			continue
		}
		name := under + e.Name
		if c.seen++; c.seen > slot.ConfigFilesMax {
			return fmt.Errorf("%s: more than %d files and folders; the rest is not taken", ConfigFolder, slot.ConfigFilesMax)
		}
		switch {
		case !e.Folder:
			err = c.file(name, e.Bytes)
		case depth == slot.ConfigDepthMax:
			err = fmt.Errorf("%s/%s: more than %d folders lie in each other", ConfigFolder, name, slot.ConfigDepthMax)
		default:
			if err = c.make(name); err == nil {
				err = c.folder(name+"/", depth+1)
			}
		}
		if err != nil {
			c.failed = append(c.failed, err)
		}
	}
	return nil
}

func (c *copying) make(name string) error {
	path := filepath.Join(c.to, name)
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Chown(path, c.uid, c.gid)
}

func (c *copying) file(name string, bytes int64) error {
	if c.bytes+bytes > slot.ConfigBytesMax {
		return fmt.Errorf("%s/%s: all files together have more than %d bytes", ConfigFolder, name, slot.ConfigBytesMax)
	}
	content, err := c.f.ReadFile(ConfigFolder+"/"+name, slot.ConfigBytesMax)
	if err != nil {
		return err
	}
	path := filepath.Join(c.to, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}
	if err := os.Chown(path, c.uid, c.gid); err != nil {
		return err
	}
	c.copied, c.bytes = c.copied+1, c.bytes+bytes
	return nil
}

// wanted leaves out what laptops put into every folder, and names that are no
// names of files here.
func wanted(name string) bool {
	return name != "" && name[0] != '.' && !strings.ContainsAny(name, "/\x00") && !strings.HasSuffix(name, "~")
}
