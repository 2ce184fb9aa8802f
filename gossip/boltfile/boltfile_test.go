package boltfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

func put(t *testing.T, db *bolt.DB, value string) {
	t.Helper()
	if err := db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte("a")).Put([]byte("key"), []byte(value)) }); err != nil {
		t.Fatal(err)
	}
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "file")
	for _, value := range []string{"one", "two"} {
		db, err := Open(path, "a", "b")
		if err != nil {
			t.Fatal(err)
		}
		put(t, db, value)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	db, err := Open(path, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, "a"); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
	db.Close()
	if _, err := Open(path, "a", "c"); !errors.Is(err, ErrDamaged) {
		t.Errorf("a bucket that is not there: %v", err)
	}
}

// A file that is cut off under bbolt's map is a fault when a page of it is read,
// and must not end the process.
func TestGuardAgainstAFault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	db, err := Open(path, "a")
	if err != nil {
		t.Fatal(err)
	}
	put(t, db, strings.Repeat("x", 64<<10))
	if err := os.Truncate(path, bytesMin); err != nil {
		t.Fatal(err)
	}
	err = Guard(func() error {
		return db.View(func(tx *bolt.Tx) error {
			return tx.Bucket([]byte("a")).ForEach(func(_, v []byte) error {
				if strings.Contains(string(v), "y") {
					t.Error("who wrote that?")
				}
				return nil
			})
		})
	})
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

func TestSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, content := range []string{"first", "second"} { // the newest is kept
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		aside, err := SetAside(path)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(aside); err != nil || string(b) != content {
			t.Errorf("aside is %q, %v", b, err)
		}
	}
	if _, err := SetAside(path); err == nil {
		t.Error("there was nothing to set aside")
	}
}
