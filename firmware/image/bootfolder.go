package image

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"cistern/firmware/slot"
)

// boot opens p1 of a card.
func boot(card io.ReaderAt) (*slot.FAT, error) {
	if _, err := slot.ReadTable(card); err != nil {
		return nil, err
	}
	f, err := slot.OpenFAT(io.NewSectionReader(card, slot.BootStart, slot.BootBytes))
	if err != nil {
		return nil, fmt.Errorf("partition %d: %w", slot.BootPartition, err)
	}
	return f, nil
}

// BootNames lists the files of p1's folder.
func BootNames(card io.ReaderAt) ([]string, error) {
	var out []string
	err := walk(card, func(_ *slot.FAT, path string, _ slot.FATEntry) error {
		out = append(out, path)
		return nil
	})
	return out, err
}

// Extract copies p1's folder into dir, as the gateway would see it.
func Extract(card io.ReaderAt, dir string) error {
	return walk(card, func(f *slot.FAT, path string, _ slot.FATEntry) error {
		b, err := f.ReadFile(BootFolder+"/"+path, slot.ConfigBytesMax)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o600)
	})
}

// walk visits every file of p1's folder; the card may be anybody's.
func walk(card io.ReaderAt, visit func(f *slot.FAT, path string, e slot.FATEntry) error) error {
	f, err := boot(card)
	if err != nil {
		return err
	}
	files, bytes := 0, int64(0)
	var each func(under string, depth int) error
	each = func(under string, depth int) error {
		entries, err := f.List(BootFolder + "/" + under)
		if err != nil {
			return err
		}
		for _, e := range entries {
			files++
			bytes += e.Bytes
			switch {
			case files > slot.ConfigFilesMax || bytes > slot.ConfigBytesMax || depth > slot.ConfigDepthMax:
				return fmt.Errorf("%s: holds more than %d files, %d MiB or %d folders in each other",
					BootFolder, slot.ConfigFilesMax, slot.ConfigBytesMax>>20, slot.ConfigDepthMax)
			case strings.ContainsAny(e.Name, "/\\\x00") || e.Name == "" || e.Name == "." || e.Name == "..":
				return fmt.Errorf("%s: %w: a file is called %q", BootFolder, errName, e.Name)
			case e.Folder:
				err = each(under+e.Name+"/", depth+1)
			default:
				err = visit(f, under+e.Name, e)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return each("", 0)
}

var errName = errors.New("no name for a file")
