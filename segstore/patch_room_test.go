package segstore

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"syscall"
	"testing"

	"cistern/segstore/vfs"
)

// TestPatchesOfTheDrainedGiveWay: where there is no room for a patch, those of what
// was drained go, the oldest first; no other, and not for what was drained itself.
func TestPatchesOfTheDrainedGiveWay(t *testing.T) {
	for _, c := range []struct {
		name string
		full func(w *twins, f *vfs.Faulty)
		err  error
	}{
		{"too many", func(w *twins, _ *vfs.Faulty) { w.a.patches.files += patchesMax - 4 }, ErrPatchesFull},
		{"no room", func(_ *twins, f *vfs.Faulty) {
			f.Inject(vfs.Rule{Op: vfs.OpCreate, Path: "*" + patchSuffix + tmpSuffix, Fail: 1, Err: syscall.ENOSPC})
		}, syscall.ENOSPC},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTwins(t)
			f := vfs.NewFaulty(w.p)
			w.a.Close()
			w.a = openStore(t, w.config(f))
			for range 60 {
				w.append(0, 1, 900)
			}
			g, twin := w.a.Log(pid(0)), w.b.Log(pid(0))
			patch := func(at int64) (int64, error) {
				w.rot(0, at)
				return g.Patch(fetch(t, twin, at, 1))
			}
			for _, at := range []int64{12, 10, 14, 30} {
				if n, err := patch(at); n != 1 || err != nil {
					t.Fatalf("at %d: kept %d: %v", at, n, err)
				}
			}
			c.full(w, f)
			if n, err := patch(40); n != 0 || !errors.Is(err, c.err) {
				t.Fatalf("nothing was drained: kept %d: %v, want %v", n, err, c.err)
			}
			g.SetDrained(20)
			if c.err == ErrPatchesFull {
				if n, err := patch(16); n != 0 || !errors.Is(err, c.err) {
					t.Fatalf("of what was drained: kept %d: %v", n, err)
				}
			} else {
				c.full(w, f)
			}
			if n, err := g.Patch(fetch(t, twin, 40, 1)); n != 1 || err != nil {
				t.Fatalf("kept %d: %v", n, err)
			}
			w.corrupt(0, 12) // the oldest patch
			for _, at := range []int64{10, 14, 30, 40} {
				fetch(t, g, at, 1)
			}
			if n := len(w.patchFiles()); n != 4 {
				t.Errorf("%d files, want 4", n)
			}
		})
	}
}

// TestLend: what can't be kept is read from memory, one piece at a time, until the
// log is cut back; it is no patch, and a hole stays one.
func TestLend(t *testing.T) {
	w := newTwins(t)
	for range 300 {
		w.append(0, 1, 3000)
	}
	seg := w.a.segmentFrom(1, w.a.segmentFrom(1, 0).id+1)
	w.restart(func() { w.wipe(seg) })
	g, twin := w.a.Log(pid(0)), w.b.Log(pid(0))
	first, last, ok, err := g.Hole(0)
	if !ok || err != nil || last-first < 9 {
		t.Fatalf("the hole is %d to %d (%v, %v)", first, last, ok, err)
	}
	if g.Lend(fetch(t, twin, 0, 1)) || g.Lend([]byte("other")) {
		t.Error("lent is what can be read here, or what is foreign")
	}
	for at := first; at <= last; {
		raw := fetch(t, twin, at, 10000)
		if w.corrupt(0, at); !g.Lend(raw) || !g.Lent(at) {
			t.Fatalf("nothing was lent at %d", at)
		}
		if got := fetch(t, g, at, 10000); string(got) != string(raw) {
			t.Fatalf("at %d another thing is read than was lent", at)
		}
		if f, _, ok, err := g.Hole(0); !ok || f != first || err != nil {
			t.Fatalf("the hole begins at %d (%v, %v): memory is no patch", f, ok, err)
		}
		at = nextOf(t, raw)
	}
	if c := w.corrupt(0, first); !g.Lend(fetch(t, twin, first+3, 1)) || c.LastOffset < first+3 {
		t.Fatalf("lost up to %d", c.LastOffset)
	}
	if c := w.corrupt(0, first); c.LastOffset != first+2 {
		t.Errorf("before what was lent: lost up to %d, want %d", c.LastOffset, first+2)
	}
	if st := w.a.Stats(); st.Patches != 0 || st.PatchedRecords != 0 {
		t.Errorf("stats are %+v", st)
	}
	// With room again it is kept, though it can be read from memory.
	raw := fetch(t, twin, first, 1)
	if n, err := g.Patch(raw); !g.Lend(fetch(t, twin, first+1, 1)) || n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := g.Patch(fetch(t, twin, first+1, 1)); n != 1 || err != nil || g.Lent(first+1) {
		t.Errorf("kept %d, %v", n, err)
	}
	g.Lend(fetch(t, twin, first+2, 1))
	if _, err := w.a.Commit(Entry{Log: g, Truncate: true, Offset: first + 1}); err != nil {
		t.Fatal(err)
	}
	if g.Lent(first + 2) {
		t.Error("lent is what was cut off")
	}
}

// TestPatchOfWhatCanBeRead keeps nothing, and says so.
func TestPatchOfWhatCanBeRead(t *testing.T) {
	w := newTwins(t)
	for range 10 {
		w.append(0, 3, 50)
	}
	w.rot(0, 9)
	g, twin := w.a.Log(pid(0)), w.b.Log(pid(0))
	for i, want := range []int64{0, 3, 0} {
		raw := fetch(t, twin, 3, 1)
		if i > 0 {
			raw = fetchTo(t, twin, 3, 15)
		}
		if n, err := g.Patch(raw); n != want || err != nil {
			t.Errorf("%d: kept %d (%v), want %d", i, n, err, want)
		}
	}
}

// TestPatchNotReadForNow: where this process can't open a patch nothing is lost.
func TestPatchNotReadForNow(t *testing.T) {
	w := newTwins(t)
	f := vfs.NewFaulty(w.p)
	w.a.Close()
	w.a = openStore(t, w.config(f))
	for range 10 {
		w.append(0, 3, 50)
	}
	w.rot(0, 9)
	g, raw := w.a.Log(pid(0)), fetch(t, w.b.Log(pid(0)), 9, 1)
	if _, err := g.Patch(raw); err != nil {
		t.Fatal(err)
	}
	f.Inject(vfs.Rule{Op: vfs.OpOpen, Path: "*" + patchSuffix, Fail: 1, Err: syscall.EMFILE})
	_, err := g.Read(9, nil, 1)
	if c := (*CorruptError)(nil); !errors.Is(err, syscall.EMFILE) || errors.As(err, &c) || g.patches[0].damaged {
		t.Errorf("without a file handle: %v; damaged %v", err, g.patches[0].damaged)
	}
	w.same()
	gone := g.patches[0]
	w.a.fs.Remove(w.a.patchPath(gone.number))
	g.mu.Lock()
	g.dropPatches(func(*patch) bool { return true })
	g.mu.Unlock()
	w.corrupt(0, 9)
	if gone.damaged {
		t.Error("what went is called damaged")
	}
	g.mu.Lock()
	g.addPatch(gone) // its file is gone, behind the store's back
	g.mu.Unlock()
	if w.corrupt(0, 9); !gone.damaged {
		t.Error("a patch without its file is not called damaged")
	}
}

// TestPatchFilesThatAreNone: what is too large for a patch, or too many, is left
// alone.
func TestPatchFilesThatAreNone(t *testing.T) {
	w := newTwins(t)
	for range 10 {
		w.append(0, 3, 50)
	}
	w.rot(0, 9)
	if _, err := w.a.Log(pid(0)).Patch(fetch(t, w.b.Log(pid(0)), 9, 1)); err != nil {
		t.Fatal(err)
	}
	path := w.patchFiles()[0]
	w.a.patches.found, w.a.patches.files = []uint32{0}, patchesMax
	if w.a.loadPatches(); len(w.a.Log(pid(0)).patches) != 1 || len(w.patchFiles()) != 1 {
		t.Errorf("one too many: %d in the log, files %v", len(w.a.Log(pid(0)).patches), w.patchFiles())
	}
	w.restart(func() {
		w.change(path, func(f vfs.File) error {
			b := make([]byte, patchHeaderLen)
			if _, err := f.ReadAt(b, 0); err != nil {
				return err
			}
			binary.BigEndian.PutUint32(b[48:], patchSizeMax+1-patchHeaderLen)
			binary.BigEndian.PutUint32(b[56:], crc32.Checksum(b[:56], castagnoli))
			_, err := f.WriteAt(b, 0)
			if err == nil {
				_, err = f.WriteAt([]byte{1}, patchSizeMax)
			}
			return err
		})
	})
	if st := w.a.Stats(); st.Patches != 0 || len(w.patchFiles()) != 1 {
		t.Errorf("%d patches, files %v", st.Patches, w.patchFiles())
	}
	w.corrupt(0, 9)
}
