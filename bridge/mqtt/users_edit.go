package mqtt

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/crypto/bcrypt"
)

// ErrNoUser is returned by RemoveUser for a user that is not in the file.
var ErrNoUser = errors.New("mqtt: no such user")

// SetUser adds a user to a password file, or replaces the password of one. The
// file is made if it is not there. A running gateway notices.
func SetUser(path, user, password string) error {
	if err := checkUserName(user); err != nil {
		return err
	}
	if password == "" || len(password) > passwordMax {
		return fmt.Errorf("mqtt: a password needs 1 to %d bytes", passwordMax)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), hashCost)
	if err != nil {
		return fmt.Errorf("mqtt: hashing the password: %w", err)
	}
	return editPasswordFile(path, func(users map[string][]byte) error {
		if users[user] == nil && len(users) >= usersMax {
			return fmt.Errorf("mqtt: password file %s has %d users, more are not supported", path, len(users))
		}
		users[user] = hash
		return nil
	})
}

// RemoveUser removes a user from a password file. Connections that are open
// stay.
func RemoveUser(path, user string) error {
	return editPasswordFile(path, func(users map[string][]byte) error {
		if users[user] == nil {
			return fmt.Errorf("%w: %q in %s", ErrNoUser, user, path)
		}
		delete(users, user)
		return nil
	})
}

// ListUsers returns the user names of a password file, sorted.
func ListUsers(path string) ([]string, error) {
	users, _, err := readPasswordFile(path)
	return slices.Sorted(maps.Keys(users)), err
}

// editPasswordFile replaces the file as a whole. A lock on its folder keeps
// two editors from undoing each other's work.
func editPasswordFile(path string, edit func(map[string][]byte) error) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("mqtt: password file: %w", err)
	}
	defer folder.Close()
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("mqtt: password file: locking %s: %w", folder.Name(), err)
	}
	users, _, err := readPasswordFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		users, err = map[string][]byte{}, nil
	}
	if err != nil {
		return err
	}
	if err := edit(users); err != nil {
		return err
	}
	if err := replacePasswordFile(path, users); err != nil {
		return fmt.Errorf("mqtt: password file: %w", err)
	}
	return folder.Sync()
}

func replacePasswordFile(path string, users map[string][]byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".users-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	defer temporary.Close()
	for _, user := range slices.Sorted(maps.Keys(users)) {
		if _, err := fmt.Fprintf(temporary, "%s:%s\n", user, users[user]); err != nil {
			return err
		}
	}
	if err := temporary.Sync(); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
