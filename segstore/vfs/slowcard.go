package vfs

import (
	"sync"
	"time"
)

// SlowCard makes the file system below it as slow as a memory card, and counts
// what the card would have to do. It is one device: an operation begins when
// the one before it is done, whoever asked. Reads cost nothing.
//
// Set the delays before the first use. What the file system below takes for an
// operation counts toward its delay.
type SlowCard struct {
	FS
	PerWrite time.Duration // for every write, on top of its pages
	PerPage  time.Duration // for every page of 4 KiB that a write touches
	PerFlush time.Duration // for every Sync and SyncDir

	mu    sync.Mutex
	free  time.Time // when the device is done with what it was given
	stats CardStats
}

// CardStats is the work of a SlowCard so far.
type CardStats struct {
	Writes  int64
	Bytes   int64 // whole pages that writes touched
	Flushes int64
}

// NewSlowCard returns a card over under with the delays of a common SD card.
func NewSlowCard(under FS) *SlowCard {
	return &SlowCard{
		FS:       under,
		PerWrite: 200 * time.Microsecond,
		PerPage:  100 * time.Microsecond,
		PerFlush: 4 * time.Millisecond,
	}
}

// Stats returns the work so far.
func (c *SlowCard) Stats() CardStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// work adds to the stats, takes the device for cost, and returns when it is done.
func (c *SlowCard) work(add CardStats, cost time.Duration) (done time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Writes += add.Writes
	c.stats.Bytes += add.Bytes
	c.stats.Flushes += add.Flushes
	if now := time.Now(); c.free.Before(now) {
		c.free = now
	}
	c.free = c.free.Add(cost)
	return c.free
}

// Create implements FS.
func (c *SlowCard) Create(name string) (File, error) { return c.wrap(c.FS.Create(name)) }

// Open implements FS.
func (c *SlowCard) Open(name string) (File, error) { return c.wrap(c.FS.Open(name)) }

// OpenRead implements FS.
func (c *SlowCard) OpenRead(name string) (File, error) { return c.wrap(c.FS.OpenRead(name)) }

func (c *SlowCard) wrap(f File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return &slowFile{File: f, card: c}, nil
}

// SyncDir implements FS.
func (c *SlowCard) SyncDir(dir string) error {
	done := c.work(CardStats{Flushes: 1}, c.PerFlush)
	err := c.FS.SyncDir(dir)
	time.Sleep(time.Until(done))
	return err
}

type slowFile struct {
	File
	card *SlowCard
}

// WriteAt implements File.
func (f *slowFile) WriteAt(b []byte, off int64) (int, error) {
	pages := pagesTouched(off, len(b))
	done := f.card.work(CardStats{Writes: 1, Bytes: pages * PageSize},
		f.card.PerWrite+time.Duration(pages)*f.card.PerPage)
	n, err := f.File.WriteAt(b, off)
	time.Sleep(time.Until(done))
	return n, err
}

// Sync implements File.
func (f *slowFile) Sync() error {
	done := f.card.work(CardStats{Flushes: 1}, f.card.PerFlush)
	err := f.File.Sync()
	time.Sleep(time.Until(done))
	return err
}

func (f *slowFile) loseDirty() { loseDirty(f.File) }

func pagesTouched(off int64, n int) int64 {
	if n == 0 {
		return 0
	}
	return (off+int64(n)-1)/PageSize - off/PageSize + 1
}
