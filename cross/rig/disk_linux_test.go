package rig

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The counters are the measure of flash wear, so they have to see one page and
// one flush for one page written over and synced, and nothing when nothing is.
func TestDiskCountsWhatReachesIt(t *testing.T) {
	d, err := NewDisk(32 << 20)
	if err != nil {
		t.Skip("no loop-mounted disk here: ", err)
	}
	defer d.Close()
	f, err := os.Create(filepath.Join(d.Dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	write := func() {
		t.Helper()
		if _, err := f.WriteAt(page, 0); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			t.Fatal(err)
		}
	}
	write()
	syscall.Sync()

	// The file system's own writing may fall into a round, but not into each.
	const writes, rounds = 10, 5
	var got Counters
	for range rounds {
		before, err := d.Counters()
		if err != nil {
			t.Fatal(err)
		}
		for range writes {
			write()
		}
		after, err := d.Counters()
		if err != nil {
			t.Fatal(err)
		}
		if got = after.Minus(before); got.BytesWritten == writes*4096 && got.Flushes == writes {
			break
		}
		t.Logf("%d overwritten pages: the device saw %d bytes and %d flushes", writes, got.BytesWritten, got.Flushes)
	}
	if got.BytesWritten != writes*4096 || got.Flushes != writes {
		t.Errorf("in none of %d rounds the device saw %d bytes and %d flushes", rounds, writes*4096, writes)
	}

	if err := d.Remount("ro"); err == nil {
		t.Error("remounted read-only under an open file")
	}
	f.Close()
	if err := d.Remount("ro"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Create(filepath.Join(d.Dir, "g")); !errors.Is(err, syscall.EROFS) {
		t.Errorf("creating a file on a read-only disk: %v", err)
	}
}
