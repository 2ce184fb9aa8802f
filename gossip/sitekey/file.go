package sitekey

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// fileBytesMax is more than a key file ever has.
const fileBytesMax = 4096

// Load reads the key from a file that only its owner can read.
func Load(path string) (Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return Key{}, fmt.Errorf("site key: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Key{}, fmt.Errorf("site key: %w", err)
	}
	switch mode := st.Mode(); {
	case !mode.IsRegular():
		return Key{}, fmt.Errorf("site key: %s is not a file", path)
	case mode.Perm()&0o177 != 0:
		return Key{}, fmt.Errorf("site key: %s has mode %04o, others could have read it; run: chmod 600 %s"+
			" (and make a new key if others had access)", path, mode.Perm(), path)
	}
	b, err := io.ReadAll(io.LimitReader(f, fileBytesMax))
	if err != nil {
		return Key{}, fmt.Errorf("site key: %w", err)
	}
	k, err := Parse(string(b))
	if err != nil {
		return Key{}, fmt.Errorf("site key: %s: %w", path, err)
	}
	return k, nil
}

// Save writes the key to a new file with mode 0600. It never overwrites one:
// a lost site key means a visit to every gateway. The file is there whole or
// not at all, also after a power cut.
func (k Key) Save(path string) error {
	if err := k.save(path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("site key: %s is there already and was left as it is: %w", path, fs.ErrExist)
		}
		return fmt.Errorf("site key: %w", err)
	}
	return nil
}

func (k Key) save(path string) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".site-key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(k.encode())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // unlike rename, refuses when path exists
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
