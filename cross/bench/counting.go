package main

import (
	"sync/atomic"

	"cistern/segstore/vfs"
)

// counting is a file system that counts what a journal asks of it, in calls of
// Sync and bytes of WriteAt. What reaches the device is more (the file
// system's own journal) and is read from the device.
type counting struct {
	vfs.FS
	syncs, writes, bytesWritten, bytesRead atomic.Int64
}

func (c *counting) Create(name string) (vfs.File, error)   { return c.wrap(c.FS.Create(name)) }
func (c *counting) Open(name string) (vfs.File, error)     { return c.wrap(c.FS.Open(name)) }
func (c *counting) OpenRead(name string) (vfs.File, error) { return c.wrap(c.FS.OpenRead(name)) }

func (c *counting) SyncDir(dir string) error {
	c.syncs.Add(1)
	return c.FS.SyncDir(dir)
}

func (c *counting) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &countingFile{f, c}, nil
}

type countingFile struct {
	vfs.File
	c *counting
}

func (f *countingFile) ReadAt(b []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(b, at)
	f.c.bytesRead.Add(int64(n))
	return n, err
}

func (f *countingFile) WriteAt(b []byte, at int64) (int, error) {
	f.c.writes.Add(1)
	f.c.bytesWritten.Add(int64(len(b)))
	return f.File.WriteAt(b, at)
}

func (f *countingFile) Sync() error {
	f.c.syncs.Add(1)
	return f.File.Sync()
}
