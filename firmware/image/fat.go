package image

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"time"

	"cistern/firmware/slot"
)

// fat is a FAT inside a file, as mtools see it.
type fat struct {
	file    string
	at      int64
	bytes   int64
	label   string
	serial  uint32
	is32    bool
	perUnit int // sectors per cluster
	hidden  int64
}

// files are what a FAT holds, by path.
type files map[string][]byte

func (f files) paths() []string {
	var out []string
	for p := range f {
		out = append(out, p)
	}
	sort.Strings(out)
	return out
}

func (f files) bytes() int64 {
	var n int64
	for _, b := range f {
		n += int64(len(b))
	}
	return n
}

func (f fat) place() string { return fmt.Sprintf("%s@@%d", f.file, f.at) }

// write formats the FAT and puts everything in, in the order of names.
func (f fat) write(ctx context.Context, content files, seconds int64) error {
	if free := f.bytes * 97 / 100; content.bytes() > free {
		return fmt.Errorf("%s: its files have %d bytes, there is room for %d", f.label, content.bytes(), free)
	}
	args := []string{"-i", f.place(), "-T", fmt.Sprint(f.bytes / slot.SectorBytes), "-h", "255", "-s", "63",
		"-H", fmt.Sprint(f.hidden), "-c", fmt.Sprint(f.perUnit), "-N", fmt.Sprintf("%08x", f.serial), "-v", f.label}
	if f.is32 {
		args = append(args, "-F")
	}
	tools := call{env: sameEverywhere(seconds)}
	if _, err := tools.run(ctx, "mformat", append(args, "::")...); err != nil {
		return err
	}
	return f.add(ctx, content, seconds)
}

// add puts files into a FAT that is there, over those of the same names.
func (f fat) add(ctx context.Context, content files, seconds int64) error {
	// mcopy takes names and times from files.
	work, err := os.MkdirTemp("", "cistern-fat-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	tools := call{env: sameEverywhere(seconds)}
	byFolder := make(map[string][]string)
	for _, p := range content.paths() {
		staged, err := stage(work, p, content[p], seconds)
		if err != nil {
			return err
		}
		byFolder[path.Dir(p)] = append(byFolder[path.Dir(p)], staged)
	}
	folders := foldersOf(content)
	if len(folders) > 0 {
		// A folder that is there already is left as it is.
		args := []string{"-D", "s", "-i", f.place()}
		for _, d := range folders {
			args = append(args, "::"+d)
		}
		if _, err := tools.run(ctx, "mmd", args...); err != nil && !f.has(folders) {
			return err
		}
	}
	for _, d := range append([]string{"."}, folders...) {
		if len(byFolder[d]) == 0 {
			continue
		}
		// -Q: what did not fit is an error, not a remark. -o: over what is there.
		args := append([]string{"-Q", "-o", "-m", "-i", f.place()}, byFolder[d]...)
		if _, err := tools.run(ctx, "mcopy", append(args, "::"+d)...); err != nil {
			return err
		}
	}
	return nil
}

// has says whether all of the folders are there.
func (f fat) has(folders []string) bool {
	d, err := slot.Open(f.file)
	if err != nil {
		return false
	}
	defer d.Close()
	in, err := slot.OpenFAT(slot.Section(d, f.at, f.bytes))
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(folders, func(name string) bool {
		_, err := in.List(name)
		return err != nil
	})
}

// stage puts a file where mcopy finds it, with the time that it shall have.
func stage(work, name string, b []byte, seconds int64) (string, error) {
	p := filepath.Join(work, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
		return "", err
	}
	if err := os.WriteFile(p, b, 0o600); err != nil {
		return "", err
	}
	t := time.Unix(seconds, 0)
	return p, os.Chtimes(p, t, t)
}

// foldersOf lists the folders of all paths, outer ones first.
func foldersOf(content files) []string {
	var out []string
	for p := range content {
		for d := path.Dir(p); d != "."; d = path.Dir(d) {
			if !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	slices.Sort(out)
	return out
}
