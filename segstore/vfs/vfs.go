// Package vfs names the few file operations a journal on flash needs, and how
// each of them may fail.
//
// OS is the real file system. The others misbehave on purpose, for tests and
// benchmarks: PowerCut loses and tears what was not synced, Faulty fails on
// command, SlowCard is as slow as a memory card.
//
// What the journal assumes of a device, and nothing more:
//
//   - What Sync returned nil for survives a power cut.
//   - A write that was not synced may be there wholly, partly (in sectors of
//     512 bytes), or not at all, in any order with others.
//   - A write changes no byte outside its own pages of 4 KiB, torn or not.
//   - A new or renamed name survives once SyncDir of its folder returned nil.
package vfs

import "io"

// PageSize is the unit in which flash and page cache are written.
const PageSize = 4096

// FS is a folder tree. Names are paths as the os package takes them.
type FS interface {
	// Create makes a new file for reading and writing; it fails with
	// fs.ErrExist when there is one.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// OpenRead opens an existing file for reading.
	OpenRead(name string) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	MkdirAll(dir string) error
	// List returns the names (not paths) in dir, sorted.
	List(dir string) ([]string, error)
	// SyncDir makes creations, renames and removals in dir durable.
	SyncDir(dir string) error
	// Usage says how much room the file system of dir has.
	Usage(dir string) (Usage, error)
	// Lock takes a lock on a file, made if need be, that another process (or
	// another Lock) can't take until it is closed. It fails with ErrLocked.
	Lock(name string) (io.Closer, error)
}

// File is one open file. ReadAt and WriteAt may be called from several
// goroutines at once.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes what was written, and the size, durable (fdatasync). After
	// an error nothing is known about any write since the last good Sync, and
	// a second Sync proves nothing.
	Sync() error
	// Size returns the length in bytes.
	Size() (int64, error)
	// DropCache makes later reads come from the device instead of memory.
	DropCache() error
}

// Usage is the room on a file system, in bytes.
type Usage struct {
	Total     int64
	Available int64
}
