package boltfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

func put(t *testing.T, db *File, value string) {
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
// and must not end the process, nor leave it waiting: bbolt holds its locks for ever
// when the way out of a write meets damage, too.
func TestDamageUnderTheMap(t *testing.T) {
	for _, pages := range []int64{2, 3, 4, 6, 10} {
		t.Run(fmt.Sprint(pages), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			db, err := Open(path, "a")
			if err != nil {
				t.Fatal(err)
			}
			write := func(n int) error {
				return db.Update(func(tx *bolt.Tx) error {
					for i := range 20 {
						if err := tx.Bucket([]byte("a")).Put(fmt.Appendf(nil, "%d-%d", n, i), make([]byte, 300)); err != nil {
							return err
						}
					}
					return nil
				})
			}
			for n := range 20 {
				if err := write(n); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Truncate(path, pages*pageBytes); err != nil {
				t.Fatal(err)
			}
			for _, n := range []int{100, 101} {
				if err := write(n); !errors.Is(err, ErrDamaged) {
					t.Errorf("write %d: %v", n, err)
				}
			}
			if err := db.View(func(*bolt.Tx) error { return nil }); !errors.Is(err, ErrDamaged) {
				t.Errorf("a read after it: %v", err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
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
