package users

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a password file.
const (
	usersMax     = 10_000
	nameBytesMax = 256
	passwordMin  = 1
	passwordMax  = 1024
	fileBytesMax = 8 << 20
)

// File is the content of a password file.
type File struct {
	path  string
	users map[string]hash
}

// Open reads a password file. One that does not exist is an empty one.
func Open(path string) (*File, error) {
	f := &File{path: path, users: map[string]hash{}}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, nil
	case err != nil:
		return nil, err
	case info.Size() > fileBytesMax:
		return nil, fmt.Errorf("%s has %d bytes; a password file may have %d", path, info.Size(), fileBytesMax)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return f, f.parse(text)
}

func (f *File) parse(text []byte) error {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, found := strings.Cut(line, ":")
		if err := CheckName(name); !found || err != nil {
			return fmt.Errorf("%s:%d: expected name:hash", f.path, n)
		}
		h, err := parseHash(rest)
		if err != nil {
			return fmt.Errorf("%s:%d: the password of %q %w", f.path, n, name, err)
		}
		if _, twice := f.users[name]; twice {
			return fmt.Errorf("%s:%d: %q is there twice", f.path, n, name)
		}
		f.users[name] = h
	}
	if len(f.users) > usersMax {
		return fmt.Errorf("%s has %d users; at most %d are allowed", f.path, len(f.users), usersMax)
	}
	return lines.Err()
}

// Names returns all users, sorted.
func (f *File) Names() []string {
	names := make([]string, 0, len(f.users))
	for n := range f.users {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Set adds a user or changes the password of one; existed says which.
func (f *File) Set(name, password string) (existed bool, err error) {
	if err := CheckName(name); err != nil {
		return false, err
	}
	if n := len(password); n < passwordMin || n > passwordMax {
		return false, fmt.Errorf("the password has %d bytes; allowed are %d to %d", n, passwordMin, passwordMax)
	}
	_, existed = f.users[name]
	if !existed && len(f.users) >= usersMax {
		return false, fmt.Errorf("%s has %d users; more are not allowed", f.path, len(f.users))
	}
	f.users[name], err = newHash(password)
	return existed, err
}

// Remove takes a user away and says whether there was one.
func (f *File) Remove(name string) bool {
	_, existed := f.users[name]
	delete(f.users, name)
	return existed
}

// CheckName holds a name to what the file can keep.
func CheckName(name string) error {
	switch {
	case name == "" || len(name) > nameBytesMax:
		return fmt.Errorf("a user name needs 1 to %d bytes", nameBytesMax)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool {
		return r == ':' || unicode.IsControl(r) || unicode.IsSpace(r)
	}) || name[0] == '#':
		return fmt.Errorf("the user name %q: no spaces, control characters or : are allowed, and no # at the start", name)
	}
	return nil
}

// Save replaces the file: after a power cut there is the old one or the new.
func (f *File) Save() error {
	var text bytes.Buffer
	for _, name := range f.Names() {
		fmt.Fprintf(&text, "%s:%s\n", name, f.users[name])
	}
	folder := filepath.Dir(f.path)
	tmp, err := os.CreateTemp(folder, ".users-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // no effect once renamed
	_, err = tmp.Write(text.Bytes())
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), f.path); err != nil {
		return err
	}
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
