package vfs

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestSlowCardCountsAndDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := NewSlowCard(NewPowerCut())
		f, err := card.Create("f")
		wantErr(t, "create", err, nil)
		for _, test := range []struct {
			name string
			do   func() error
			want time.Duration
			add  CardStats
		}{
			{"one byte", write(f, 0, 1), 300 * time.Microsecond, CardStats{1, PageSize, 0}},
			{"a page", write(f, PageSize, PageSize), 300 * time.Microsecond, CardStats{1, PageSize, 0}},
			{"two bytes in two pages", write(f, PageSize-1, 2), 400 * time.Microsecond, CardStats{1, 2 * PageSize, 0}},
			{"64 KiB", write(f, 0, 64<<10), 1800 * time.Microsecond, CardStats{1, 64 << 10, 0}},
			{"sync", f.Sync, 4 * time.Millisecond, CardStats{0, 0, 1}},
			{"sync folder", func() error { return card.SyncDir(".") }, 4 * time.Millisecond, CardStats{0, 0, 1}},
			{"read", func() error { _, err := f.ReadAt(make([]byte, 10), 0); return err }, 0, CardStats{}},
		} {
			before, start := card.Stats(), time.Now()
			wantErr(t, test.name, test.do(), nil)
			if took := time.Since(start); took != test.want {
				t.Errorf("%s took %s, want %s", test.name, took, test.want)
			}
			after := card.Stats()
			if got := (CardStats{after.Writes - before.Writes, after.Bytes - before.Bytes, after.Flushes - before.Flushes}); got != test.add {
				t.Errorf("%s counted %+v, want %+v", test.name, got, test.add)
			}
		}
	})
}

// Ten writers at once take as long as ten writes one after another.
func TestSlowCardIsOneDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := NewSlowCard(NewPowerCut())
		start := time.Now()
		var all sync.WaitGroup
		for i := range 10 {
			f, err := card.Create(string(rune('a' + i)))
			wantErr(t, "create", err, nil)
			all.Go(func() {
				wantErr(t, "write", write(f, 0, 1)(), nil)
				wantErr(t, "sync", f.Sync(), nil)
			})
		}
		all.Wait()
		if took := time.Since(start); took != 10*(300*time.Microsecond+4*time.Millisecond) {
			t.Errorf("took %s", took)
		}
	})
}

func write(f File, off int64, n int) func() error {
	return func() error { _, err := f.WriteAt(make([]byte, n), off); return err }
}
