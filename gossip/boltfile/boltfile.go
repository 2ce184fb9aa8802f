// Package boltfile opens bbolt files on flash that can rot.
//
// bbolt is at home on a disk that gives back what it was given. Where one does
// not, bbolt panics, or reads a mapped page beyond the end of its file, which is
// a fault and ends the process. Here both are errors: whoever has such a file
// says what is lost, and goes on if it can.
package boltfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrDamaged is what flash did to a file.
var ErrDamaged = errors.New("damaged")

// pageBytes is the flash's page, on boards with larger pages in memory, too.
const pageBytes = 4096

// bytesMin is the size of a file with nothing but its two heads.
const bytesMin = 2 * pageBytes

// lockWait is for a process that has the file and is about to end.
const lockWait = 2 * time.Second

// Open opens the file at path, or makes one with these buckets. It reads the
// keys of each, so that a page that is missing is found now and not later.
// bbolt keeps no checksums of what is in a page: that is its owner's to keep.
//
// Errors: ErrDamaged; one that says so when another process has the file.
func Open(path string, buckets ...string) (*File, error) {
	switch info, err := os.Stat(path); {
	case errors.Is(err, os.ErrNotExist):
		if err := create(path, buckets); err != nil {
			return nil, fmt.Errorf("make %s: %w", path, err)
		}
	case err == nil && info.Size() < bytesMin: // bbolt would begin an empty one anew
		return nil, fmt.Errorf("open %s: it has %d bytes: %w", path, info.Size(), ErrDamaged)
	}
	db, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	f := &File{db: db}
	if err := f.walk(buckets); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, errors.Join(err, f.Close()))
	}
	return f, nil
}

// File is a bbolt file that is open. Its methods may be called from anywhere.
type File struct {
	db      *bolt.DB
	writing sync.Mutex  // bbolt's own may never be given back
	broken  atomic.Bool // bbolt panicked in a write, and may hold its locks for ever
}

// errBroken is the answer to all that comes after a write that met damage.
var errBroken = fmt.Errorf("a write met damage before, and nothing is written any more: %w", ErrDamaged)

// View is bbolt's.
func (f *File) View(fn func(*bolt.Tx) error) error {
	if f.broken.Load() {
		return errBroken
	}
	return Guard(func() error { return f.db.View(fn) })
}

// Update is bbolt's. One that meets damage is the last: what it held of bbolt may
// be held for ever.
func (f *File) Update(fn func(*bolt.Tx) error) error {
	f.writing.Lock()
	defer f.writing.Unlock()
	if f.broken.Load() {
		return errBroken
	}
	err := Guard(func() error { return f.db.Update(fn) })
	if errors.Is(err, ErrDamaged) {
		f.broken.Store(true)
	}
	return err
}

// Close is bbolt's. A file in which a write met damage is left to the end of the
// process.
func (f *File) Close() error {
	f.writing.Lock()
	defer f.writing.Unlock()
	if f.broken.Load() {
		return nil
	}
	return Guard(f.db.Close)
}

// Stats is bbolt's.
func (f *File) Stats() bolt.Stats { return f.db.Stats() }

func open(path string) (db *bolt.DB, err error) {
	err = Guard(func() (err error) {
		db, err = bolt.Open(path, 0o600, options())
		return err
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, errors.New("another process uses it")
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %w", err, ErrDamaged)
	}
	return db, err
}

// options are for a small file on flash. The free list is kept in the file:
// finding it by a scan happens on a goroutine of bbolt's, where a damaged page
// would end the process.
func options() *bolt.Options {
	return &bolt.Options{Timeout: lockWait, FreelistType: bolt.FreelistMapType, PageSize: pageBytes, InitialMmapSize: 1 << 20}
}

// create makes the file under a temporary name: bbolt can be left half
// initialised by a power cut.
func create(path string, buckets []string) error {
	tmp := path + ".tmp"
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	db, err := open(tmp)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, b := range buckets {
			if _, err := tx.CreateBucketIfNotExists([]byte(b)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f *File) walk(buckets []string) error {
	return f.View(func(tx *bolt.Tx) error {
		for _, name := range buckets {
			b := tx.Bucket([]byte(name))
			if b == nil {
				return fmt.Errorf("bucket %q is missing: %w", name, ErrDamaged)
			}
			if err := b.ForEach(func(_, _ []byte) error { return nil }); err != nil {
				return err
			}
		}
		return nil
	})
}

// SetAside renames a damaged file, for people who want to look, and returns the
// name it has now. One such file is kept.
func SetAside(path string) (string, error) {
	aside := path + ".damaged"
	if err := os.Rename(path, aside); err != nil {
		return "", err
	}
	return aside, syncFolder(filepath.Dir(path))
}

// Guard turns what bbolt does on a damaged file into ErrDamaged.
func Guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("bbolt: %v: %w", r, ErrDamaged)
		}
	}()
	return fn()
}
