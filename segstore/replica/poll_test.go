package replica

import (
	"errors"
	"sync/atomic"
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
	"cistern/segstore/vfs"
)

// heldSyncs is a device whose syncs wait for a word while held is set. While it is
// full there are no new files.
type heldSyncs struct {
	vfs.FS
	held atomic.Bool
	full atomic.Bool
	word chan struct{}
}

type heldFile struct {
	vfs.File
	h *heldSyncs
}

func (h *heldSyncs) Open(name string) (vfs.File, error) {
	f, err := h.FS.Open(name)
	return heldFile{f, h}, err
}

var errFull = errors.New("no room")

func (h *heldSyncs) Create(name string) (vfs.File, error) {
	if h.full.Load() {
		return nil, errFull
	}
	return h.FS.Create(name)
}

func (f heldFile) Sync() error {
	if f.h.held.Load() {
		<-f.h.word
	}
	return f.File.Sync()
}

// TestFetchReadsBeyondTheSynced: a follower that is behind gets what is on the
// leader's flash and what is being written in one answer, or it would stay one
// commit behind for as long as there is load.
func TestFetchReadsBeyondTheSynced(t *testing.T) {
	h := &heldSyncs{FS: vfs.OS, word: make(chan struct{})}
	store, err := segstore.Open(segstore.Config{Dir: t.TempDir(), FS: h, MaxBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.PutStream(metadata.DefaultStreamConfig("s")); err != nil {
		t.Fatal(err)
	}
	placed := make(chan struct{}, 8)
	l := &local{log: store.Log(townStream)}
	l.log.Replicate(func() { placed <- struct{}{} })
	d := &producerDouble{id: 1}
	if _, err := store.Commit(segstore.Entry{Log: l.log, Batch: d.batch(t, 2)}, segstore.Entry{Log: l.log, Batch: d.batch(t, 1)}); err != nil {
		t.Fatal(err)
	}
	<-placed
	h.held.Store(true)
	done := make(chan struct{})
	store.Submit(&segstore.Group{
		Entries: []segstore.Entry{{Log: l.log, Batch: d.batch(t, 3)}, {Log: l.log, Batch: d.batch(t, 1)}},
		Done:    func(*segstore.Group) { close(done) },
	})
	<-placed
	for _, c := range []struct {
		offset int64
		size   int
		end    int64
	}{
		{0, 1 << 20, 7}, // flash and memory
		{3, 1 << 20, 7}, // memory alone
		{0, 1, 2},       // one batch, whatever its size
	} {
		records, err := l.read(c.offset, c.size)
		if err != nil {
			t.Fatal(err)
		}
		if end := endOf(t, records); end != c.end {
			t.Errorf("from %d with %d bytes: ends at %d, want %d", c.offset, c.size, end, c.end)
		}
	}
	h.held.Store(false)
	close(h.word)
	<-done
}

// endOf returns the offset after the last of the batches, which follow on.
func endOf(t *testing.T, records []byte) int64 {
	t.Helper()
	next := int64(-1)
	for len(records) > 0 {
		one, rest, err := batch.Next(records)
		if err != nil {
			t.Fatal(err)
		}
		h, err := batch.Verify(one)
		if err != nil {
			t.Fatal(err)
		}
		if next >= 0 && h.BaseOffset != next {
			t.Fatalf("a batch begins at %d, want %d", h.BaseOffset, next)
		}
		next, records = h.NextOffset(), rest
	}
	return next
}
