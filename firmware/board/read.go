package board

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Limits of what is read from sys and proc. A file that has more is not what it
// is taken for.
const (
	ValueBytesMax  = 4 << 10 // of one value; sysfs has a page
	TableBytesMax  = 1 << 20 // of /proc/self/mountinfo
	FolderNamesMax = 512
	TextMax        = 128 // bytes of a name or a serial number
)

// in makes a path below root.
func in(root string, elements ...string) string {
	if root == "" {
		root = "/"
	}
	return filepath.Join(append([]string{root}, elements...)...)
}

// content reads a file of at most that many bytes.
func content(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is no file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err // it names the path
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%s: has more than %d bytes", path, most)
	}
	return b, nil
}

// value reads one value, without the white space and zero bytes at its ends.
func value(path string) (string, error) {
	b, err := content(path, ValueBytesMax)
	if err != nil {
		return "", err
	}
	return strings.Trim(string(b), " \t\r\n\x00"), nil
}

// text reads a name that is shown to people, and holds it to printable ASCII:
// it comes from a chip, and chips are badly written at times.
func text(path string) (string, error) {
	s, err := value(path)
	if err != nil {
		return "", err
	}
	if len(s) > TextMax {
		return "", fmt.Errorf("%s: %d bytes: a name has at most %d", path, len(s), TextMax)
	}
	return clean(s), nil
}

func clean(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(bytes.TrimSpace(b))
}

// optional is what text reads, or "" where there is nothing to read.
func optional(path string) string {
	s, err := text(path)
	if err != nil {
		return ""
	}
	return s
}

// number reads a number without a sign; base 0 takes 0x in front.
func number(path string, base int) (uint64, error) {
	s, err := value(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(s, base, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is no number", path, short(s))
	}
	return n, nil
}

// short keeps a message short when what it quotes is not.
func short(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// names lists a folder, sorted. It is an error if there are too many.
func names(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.Readdirnames(FolderNamesMax + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(list) > FolderNamesMax {
		return nil, fmt.Errorf("%s: has more than %d entries", dir, FolderNamesMax)
	}
	slices.Sort(list)
	return list, nil
}

// none says of a folder that could not be listed why not.
func none(err error, meaning string) string {
	if errors.Is(err, fs.ErrNotExist) {
		return meaning + ": " + err.Error()
	}
	return err.Error()
}
