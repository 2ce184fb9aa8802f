package main

import (
	"testing"
	"testing/synctest"
	"time"

	"cistern/segstore/vfs"
)

// The baseline has to group, or ours would be compared with nothing: appends
// that wait while a sync is under way share the next one.
func TestRingGroupsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := &counting{FS: slowSync{vfs.OS}}
		j, err := openRing(Setting{Dir: t.TempDir()}, fs)
		if err != nil {
			t.Fatal(err)
		}
		before := fs.syncs.Load()
		const producers = 16
		done := make(chan error, producers)
		for p := range producers {
			go func() { done <- j.Append(t.Context(), p, [][]byte{[]byte("record")}) }()
		}
		for range producers {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if n := fs.syncs.Load() - before; n > 2 || j.Groups() != n {
			t.Errorf("%d producers at once: %d syncs in %d groups, want at most 2", producers, n, j.Groups())
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
}

// slowSync takes long enough for everybody to queue, on the fake clock.
type slowSync struct{ vfs.FS }

func (s slowSync) Open(name string) (vfs.File, error) {
	f, err := s.FS.Open(name)
	return slowFile{f}, err
}

type slowFile struct{ vfs.File }

func (f slowFile) Sync() error {
	time.Sleep(time.Second)
	return nil
}
