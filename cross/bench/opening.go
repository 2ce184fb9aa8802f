package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cistern/segstore"
	"cistern/segstore/vfs"
)

// stored is a store to be filled and opened again.
type stored struct {
	Dir   string
	Bytes int64
}

// storeSlack is room beyond what is stored, so that nothing is recycled.
const storeSlack = 64 << 20

// Opening is what opening a store took.
type Opening struct {
	Took       time.Duration
	Asked      int64 // bytes the store read of its segments
	FromDevice int64 // bytes the process read from storage, metadata included
	Segments   int
	Scanned    int
	RSS        int64
}

// opening fills a store, ends the process with SIGKILL in mid-append, drops the
// page cache, and opens the store in another process.
func opening(ctx context.Context, p *plan) error {
	t := newTable(p.out, "Opening after kill -9", "Page cache dropped before; the last row is what an empty store takes.",
		"stored MiB", "ms", "segments", "of these scanned", "MiB asked for", "MiB from the device", "KiB from the device per segment", "RSS MB")
	sizes := []int64{1 << 30, 4 << 30, 0}
	if p.quick {
		sizes = []int64{64 << 20, 0}
	}
	for _, bytes := range sizes {
		s := stored{filepath.Join(p.dir, "store"), bytes}
		if err := os.RemoveAll(s.Dir); err != nil {
			return err
		}
		if _, err := inChild[stored, string](ctx, "fill", s); err == nil || ctx.Err() != nil {
			return fmt.Errorf("the child that fills the store was not killed: %v", ctx.Err())
		}
		dropCaches()
		o, err := inChild[stored, Opening](ctx, "reopen", s)
		if err != nil {
			return err
		}
		t.row(fmt.Sprint(bytes>>20), millis(o.Took), fmt.Sprint(o.Segments), fmt.Sprint(o.Scanned),
			fmt.Sprintf("%.2f", mib(o.Asked)), fmt.Sprintf("%.2f", mib(o.FromDevice)),
			fmt.Sprintf("%.1f", per(o.FromDevice, int64(o.Segments))/1024), fmt.Sprintf("%.0f", float64(o.RSS)/1e6))
		if err := os.RemoveAll(s.Dir); err != nil {
			return err
		}
	}
	return nil
}

// fillStore appends until enough is stored, and kills its own process: that is
// kill -9 at a moment that is known, with an append under way.
func fillStore(s stored) (string, error) {
	j, err := newJournal(Setting{Dir: s.Dir, Partitions: 1}, vfs.OS, s.Bytes+storeSlack)
	if err != nil {
		return "", err
	}
	if err := j.fill(int(s.Bytes)); err != nil {
		return "", err
	}
	go func() { _ = j.fill(prefillRecord) }()
	return "", syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

func reopenStore(s stored) (Opening, error) {
	fs := &counting{FS: vfs.OS}
	before := readFromDevice()
	start := time.Now()
	store, err := segstore.Open(segstore.Config{Dir: filepath.Join(s.Dir, "store"), MaxBytes: s.Bytes + storeSlack, FS: fs})
	took := time.Since(start)
	if err != nil {
		return Opening{}, err
	}
	o := Opening{
		Took: took, Asked: fs.bytesRead.Load(), FromDevice: readFromDevice() - before,
		Segments: store.Opened().Segments, Scanned: store.Opened().Scanned, RSS: residentNow(),
	}
	return o, store.Close()
}

// readFromDevice is what this process has read from storage. For reads
// /proc/self/io is right, read-ahead included, and it sees mapped files too.
func readFromDevice() int64 {
	return procNumber("/proc/self/io", "read_bytes:") // 0 when the kernel does not say
}

// residentNow is this process's resident memory.
func residentNow() int64 { return procNumber("/proc/self/status", "VmRSS:") * 1024 }

func procNumber(file, name string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}

// dropCaches makes the next reads come from the device, where we may.
func dropCaches() {
	syscall.Sync()
	_ = os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0) // needs root; else the page cache is warm
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
