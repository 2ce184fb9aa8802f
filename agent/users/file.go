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

	"cistern/agent/secret"
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

// Set adds a user, or changes the password of one.
func (f *File) Set(name, password string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if n := len(password); n < passwordMin || n > passwordMax {
		return fmt.Errorf("the password has %d bytes; allowed are %d to %d", n, passwordMin, passwordMax)
	}
	if _, known := f.users[name]; !known && len(f.users) >= usersMax {
		return fmt.Errorf("%s has %d users; more are not allowed", f.path, len(f.users))
	}
	h, err := newHash(password)
	if err != nil {
		return err
	}
	f.users[name] = h
	return nil
}

// ErrNoUser is returned by Remove.
var ErrNoUser = errors.New("no such user")

// Remove takes a user away.
func (f *File) Remove(name string) error {
	if _, known := f.users[name]; !known {
		return fmt.Errorf("%w: %q in %s", ErrNoUser, name, f.path)
	}
	delete(f.users, name)
	return nil
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

// Edit changes a password file, which is made if it is not there: after a power
// cut there is the old one or the new. A lock on its folder keeps two editors
// from undoing each other's work.
func Edit(path string, change func(*File) error) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := lock(folder); err != nil {
		return fmt.Errorf("locking %s: %w", folder.Name(), err)
	}
	f, err := Open(path)
	if err != nil {
		return err
	}
	if err := change(f); err != nil {
		return err
	}
	if err := f.replace(); err != nil {
		return err
	}
	return folder.Sync()
}

// replace writes the file under another name and renames it.
func (f *File) replace() error {
	tmp, err := os.CreateTemp(filepath.Dir(f.path), ".users-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // no effect once renamed
	for _, name := range f.Names() {
		fmt.Fprintf(tmp, "%s:%s\n", name, f.users[name]) // an error shows again in Sync
	}
	if err := errors.Join(secret.Give(tmp.Name(), f.path), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), f.path)
}
