package image

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"cistern/firmware/slot"
)

// ErrPrivate is found in the error of who would put update.key onto a card,
// under whatever name.
var ErrPrivate = errors.New("the key that signs updates never belongs on a card: who finds it can put any system on your gateways")

// WriteKeys makes the keys of updates in a folder. What is there stays.
func WriteKeys(dir string) error {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	for _, name := range []string{slot.PublicFile, slot.PrivateFile} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return fmt.Errorf("%s: %w", filepath.Join(dir, name), fs.ErrExist)
		}
	}
	err = WriteNew(filepath.Join(dir, slot.PrivateFile), []byte(slot.EncodePrivate(private)), 0o600)
	if err != nil {
		return err
	}
	return WriteNew(filepath.Join(dir, slot.PublicFile), []byte(slot.EncodePublic(public)), 0o644)
}

// WriteNew writes a file that must not be there yet.
func WriteNew(path string, b []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// ReadPublic reads update.pub.
func ReadPublic(path string) (ed25519.PublicKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	k, err := slot.ParsePublic(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// ReadPrivate reads update.key, which must be its owner's alone.
func ReadPrivate(path string) (ed25519.PrivateKey, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: others may read it (mode %04o), and who has it can put any system on your gateways; run: chmod 600 %s",
			path, st.Mode().Perm(), path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	k, err := slot.ParsePrivate(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}
