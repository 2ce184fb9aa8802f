package segstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"cistern/segstore/batch"
	"cistern/segstore/segment"
	"cistern/segstore/vfs"
)

// rot flips a bit in the batch of partition p that holds offset, and returns where
// that batch begins and ends.
func (w *twins) rot(p int, offset int64) (first, next int64) {
	w.t.Helper()
	g := w.a.Log(pid(p))
	r, err := g.locate(offset, g.EndOffset())
	if err != nil || !r.covers(offset) {
		w.t.Fatalf("partition %d, offset %d: %v", p, offset, err)
	}
	w.flip(w.a.pool.path(r.seg.slot), int64(r.refs[0].Pos)+segment.FrameHeaderLen+batch.HeaderLen+3)
	return r.refs[0].Offset, r.lastOffset(0) + 1
}

// corrupt reads at offset and returns what is named as lost.
func (w *twins) corrupt(p int, offset int64) *CorruptError {
	w.t.Helper()
	_, err := w.a.Log(pid(p)).Read(offset, nil, 1)
	c := (*CorruptError)(nil)
	if !errors.As(err, &c) {
		w.t.Fatalf("read at %d: %v, want a CorruptError", offset, err)
	}
	return c
}

// TestPatchIsHeldAgainstTheLog: what is not what the log lost is refused, and
// nothing of it is kept.
func TestPatchIsHeldAgainstTheLog(t *testing.T) {
	w := newTwins(t)
	for range 10 {
		w.append(0, 3, 50)
	}
	w.epoch = 2
	for range 200 {
		w.append(0, 3, 400)
	}
	first, next := w.rot(0, 9)
	if first != 9 || next != 12 {
		t.Fatalf("the batch holds %d to %d", first, next-1)
	}
	g, twin := w.a.Log(pid(0)), w.b.Log(pid(0))
	good := fetch(t, twin, 9, 1)
	stamped := func(base int64, epoch int32, b []byte) []byte {
		b = slices.Clone(b)
		batch.Stamp(b, base, epoch)
		return b
	}
	flipped := slices.Clone(good)
	flipped[len(flipped)-1] ^= 1
	for name, raw := range map[string][]byte{
		"half a batch":         good[:len(good)-1],
		"a bit flipped":        flipped,
		"another epoch":        stamped(9, 2, good),
		"another offset":       stamped(10, 1, good),
		"beyond the end":       stamped(g.EndOffset()-1, 2, good),
		"not what can be read": stamped(6, 1, makeBatch(t, "x", "y", "z")),
		"a gap":                append(slices.Clone(good), fetch(t, twin, 15, 1)...),
		"good, then foreign":   append(slices.Clone(good), stamped(12, 2, fetch(t, twin, 12, 1))...),
		"over what is there":   stamped(9, 1, makeBatch(t, "1", "2", "3", "4")),
	} {
		if _, err := g.Patch(raw); !errors.Is(err, ErrForeignBatch) {
			t.Errorf("%s: %v, want ErrForeignBatch", name, err)
		}
		if st := w.a.Stats(); st.Patches != 0 || len(w.patchFiles()) != 0 {
			t.Fatalf("%s: kept in %v", name, w.patchFiles())
		}
	}
	w.corrupt(0, 9)
	for range 2 {
		if _, err := g.Patch(fetch(t, twin, 9, 1<<10)); err != nil {
			t.Fatal(err)
		}
		if st := w.a.Stats(); st.Patches != 1 || st.PatchedRecords != 3 {
			t.Errorf("stats are %+v, want the 3 records of one patch", st)
		}
	}
	w.same()
}

// TestPatchesInParts: a range of many batches is patched from the middle, the front
// and the end; what is named as lost is always what is left.
func TestPatchesInParts(t *testing.T) {
	w := newTwins(t)
	for range 200 {
		w.append(0, 2, 300)
	}
	g, twin := w.a.Log(pid(0)), w.b.Log(pid(0))
	for offset := int64(4); offset < 24; offset += 2 {
		w.rot(0, offset)
	}
	seg := w.a.segmentFrom(1, 0)
	w.restart(func() { w.flip(w.a.pool.path(seg.slot), SegmentBytesMin-5) }) // without its footer: a hole, not a list of batches
	g = w.a.Log(pid(0))
	lost := func(at, first, last int64) {
		t.Helper()
		if c := w.corrupt(0, at); c.FirstOffset > at || c.LastOffset != last {
			t.Errorf("read at %d: %d to %d are named, want %d to %d", at, c.FirstOffset, c.LastOffset, first, last)
		}
		if f, l, ok, err := g.Hole(0); err != nil || !ok || f != first || l != last {
			t.Errorf("the hole is %d to %d (%v, %v), want %d to %d", f, l, ok, err, first, last)
		}
	}
	part := func(from, to int64) {
		t.Helper()
		for at := from; at < to; at += 2 {
			if _, err := g.Patch(fetch(t, twin, at, 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	lost(9, 4, 23)
	part(12, 16)
	lost(5, 4, 11)
	lost(8, 4, 11)
	part(4, 8)
	lost(8, 8, 11)
	part(8, 12)
	lost(17, 16, 23)
	part(20, 24)
	lost(16, 16, 19)
	part(16, 20)
	if f, l, ok, err := g.Hole(0); ok || err != nil {
		t.Errorf("a hole from %d to %d is left (%v)", f, l, err)
	}
	w.same()
	w.restart(func() {})
	w.same()
	var held []int64 // each patch is of one batch of two
	for at := int64(0); ; {
		first, last, ok := w.a.Log(pid(0)).Patched(at)
		if !ok {
			break
		}
		held, at = append(held, first, last), last+1
	}
	if want := []int64{4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23}; !slices.Equal(held, want) {
		t.Errorf("patches hold %v, want %v", held, want)
	}
	if first, last, ok := w.a.Log(pid(0)).Patched(9); !ok || first != 9 || last != 9 {
		t.Errorf("from 9 on: %d to %d, %v", first, last, ok)
	}
}

// TestPatchThatRots: a patch that can't be read is a loss again, and may be given
// again. One that could not be read for a moment is read again.
func TestPatchThatRots(t *testing.T) {
	w := newTwins(t)
	w.fill(150)
	f := vfs.NewFaulty(w.p)
	w.a.Close()
	w.a = openStore(t, w.config(f))
	first, next := w.rot(0, 3)
	patch := fetch(t, w.b.Log(pid(0)), first, 1)
	g := w.a.Log(pid(0))
	if _, err := g.Patch(patch); err != nil {
		t.Fatal(err)
	}
	rule := f.Inject(vfs.Rule{Op: vfs.OpRead, Path: "*" + patchSuffix, Fail: 1, Err: syscall.EIO})
	_ = rule
	w.corrupt(0, first)
	w.same()
	for _, at := range []int64{0, 30, patchHeaderLen + 20} {
		before := w.patchFiles()
		w.flip(before[0], at)
		if c := w.corrupt(0, first); c.FirstOffset != first || c.LastOffset != next-1 {
			t.Errorf("named are %d to %d, want %d to %d", c.FirstOffset, c.LastOffset, first, next-1)
		}
		if _, err := g.Patch(patch); err != nil {
			t.Fatal(err)
		}
		w.same()
		w.a.sweepPatches()
		if after := w.patchFiles(); len(after) != 1 || after[0] == before[0] {
			t.Errorf("patches are %v, and were %v", after, before)
		}
	}
	// One whose header rots is nothing to the next start.
	w.restart(func() { w.flip(w.patchFiles()[0], 9) })
	if files := w.patchFiles(); len(files) != 0 || w.a.Stats().Patches != 0 {
		t.Errorf("%v are left", files)
	}
	w.corrupt(0, first)
}

// TestPatchesGo: with the records that they hold, and not later.
func TestPatchesGo(t *testing.T) {
	build := func(t *testing.T) (*twins, *Log) {
		w := newTwins(t)
		for range 300 {
			w.append(0, 1, 900)
		}
		for at := int64(10); at < 300; at += 10 {
			w.rot(0, at)
		}
		w.mend(1000)
		w.same()
		return w, w.a.Log(pid(0))
	}
	// settled fails unless just these patches are there, now and after a start.
	settled := func(t *testing.T, w *twins, want int) {
		t.Helper()
		w.a.sweepPatches()
		for range 2 {
			if st, files := w.a.Stats(), w.patchFiles(); st.Patches != want || len(files) != want {
				t.Fatalf("%d patches in %d files, want %d", st.Patches, len(files), want)
			}
			w.restart(func() {})
		}
	}
	t.Run("expired", func(t *testing.T) {
		w, g := build(t)
		g.SetDrained(300)
		if !w.a.freeFirst(1, drainedBelow) || g.StartOffset() == 0 {
			t.Fatal("nothing was freed: patches pin a segment")
		}
		want := 29 - int(g.StartOffset()-1)/10
		settled(t, w, want)
		w.same()
	})
	t.Run("truncated", func(t *testing.T) {
		w, g := build(t)
		if _, err := w.a.Commit(Entry{Log: g, Truncate: true, Offset: 105}); err != nil {
			t.Fatal(err)
		}
		settled(t, w, 10)
	})
	t.Run("truncated to a patch", func(t *testing.T) {
		w, g := build(t)
		if _, err := w.a.Commit(Entry{Log: g, Truncate: true, Offset: 100}); err != nil {
			t.Fatal(err)
		}
		settled(t, w, 9)
	})
	t.Run("restarted", func(t *testing.T) {
		w, g := build(t)
		if _, err := w.a.Commit(Entry{Log: g, Restart: true, Offset: 7}); err != nil {
			t.Fatal(err)
		}
		settled(t, w, 0)
	})
	t.Run("a crash brings them back", func(t *testing.T) {
		w, g := build(t)
		if _, err := w.a.Commit(Entry{Log: g, Truncate: true, Offset: 105}); err != nil {
			t.Fatal(err)
		}
		for i := int64(105); i < 200; i++ { // other records in their place, of another epoch
			b := makeBatch(t, fmt.Sprint("other", i))
			batch.Stamp(b, i, w.epoch+1)
			if _, err := w.a.Commit(Entry{Log: g, Batch: b, Verbatim: true}); err != nil {
				t.Fatal(err)
			}
		}
		if len(w.patchFiles()) != 29 {
			t.Fatal("the files are gone already: the test shows nothing")
		}
		w.a.Close()
		w.p = w.p.Crash(1, vfs.Tear{Unsynced: vfs.Kept})
		w.a = openStore(t, w.config(w.p))
		settled(t, w, 10)
		if got := readValues(t, w.a.Log(pid(0)), 110); got[0] != "other110" {
			t.Errorf("a record of the old epoch is read: %q", got[0])
		}
	})
}

// TestTruncationInAHole: where a patch holds the records of a hole, a log is cut
// between its batches.
func TestTruncationInAHole(t *testing.T) {
	w := newTwins(t)
	for range 300 {
		w.append(0, 3, 900)
	}
	seg := w.a.segmentFrom(1, w.a.segmentFrom(1, 0).id+1)
	w.restart(func() { w.wipe(seg) })
	g := w.a.Log(pid(0))
	first, last, ok, err := g.Hole(0)
	if !ok || err != nil || last-first < 9 {
		t.Fatalf("the hole is %d to %d (%v, %v)", first, last, ok, err)
	}
	w.mend(1 << 20)
	w.same()
	if _, err := w.a.Commit(Entry{Log: g, Truncate: true, Offset: first + 4}); err != nil {
		t.Fatal(err)
	}
	if end := g.EndOffset(); end != first+3 {
		t.Errorf("the log ends at %d, want %d: between two batches", end, first+3)
	}
}

// TestPatchesAreLimited: a card that loses more than patches may hold is to be
// replaced. A large patch is in files that can be read one by one.
func TestPatchesAreLimited(t *testing.T) {
	w := newTwins(t)
	for range 60 {
		w.append(0, 1, 20000)
	}
	var lost []int64
	for at := range int64(50) {
		w.rot(0, at)
		lost = append(lost, at)
	}
	g, twin := w.a.Log(pid(0)), w.b.Log(pid(0))
	set := &w.a.patches
	for _, full := range []func(by int){
		func(by int) { set.files += by * patchesMax },
		func(by int) { set.bytes += int64(by) * (patchBytesMax - 20000) },
	} {
		full(1)
		if _, err := g.Patch(fetchTo(t, twin, 0, 50)); !errors.Is(err, ErrPatchesFull) || !strings.Contains(err.Error(), "replace") {
			t.Errorf("patched beyond the limit: %v, want ErrPatchesFull", err)
		}
		if len(w.patchFiles()) != 0 {
			t.Error("files are left")
		}
		full(-1)
	}
	if _, err := g.Patch(fetchTo(t, twin, 0, 50)); err != nil {
		t.Fatal(err)
	}
	w.same()
	st := w.a.Stats()
	if want := int(st.PatchedBytes/patchFileBytes) + 1; st.Patches != want || st.PatchedRecords != int64(len(lost)) {
		t.Errorf("%d records in %d patches, want %d in %d", st.PatchedRecords, st.Patches, len(lost), want)
	}
}

// TestPatchWithoutRoom: a patch that the device has no room for, or that fails,
// leaves nothing behind, and is taken later.
func TestPatchWithoutRoom(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpCreate, vfs.OpWrite, vfs.OpSync, vfs.OpRename, vfs.OpSyncDir} {
		w := newTwins(t)
		w.fill(60)
		f := vfs.NewFaulty(w.p)
		w.a.Close()
		w.a = openStore(t, w.config(f))
		first, _ := w.rot(0, 3)
		g, patch := w.a.Log(pid(0)), fetch(t, w.b.Log(pid(0)), first, 1)
		f.Inject(vfs.Rule{Op: op, Fail: 1, Err: syscall.ENOSPC})
		if _, err := g.Patch(patch); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s fails: %v, want ENOSPC", op, err)
		}
		if st, files := w.a.Stats(), w.patchFiles(); st.Patches != 0 || len(files) != 0 {
			t.Errorf("%s failed: %v are left", op, files)
		}
		w.corrupt(0, first)
		if _, err := g.Patch(patch); err != nil {
			t.Fatal(err)
		}
		w.same()
	}
}

// TestPowerCutWhilePatching: whatever a cut leaves of a patch, what is confirmed is
// there after it, and what is not confirmed is whole or lost as before.
func TestPowerCutWhilePatching(t *testing.T) {
	tears := []vfs.Tear{{Sector: 512, Unsynced: vfs.Noisy}, {Sector: 4096, Unsynced: vfs.Lost}, {Sector: 4096, Unsynced: vfs.Kept}, {Sector: 512, Unsynced: vfs.Mixed}}
	cut := false
	for n := int64(0); !cut || n < 40; n++ {
		w := newTwins(t)
		for range 40 {
			w.append(0, 2, 3000)
		}
		w.epoch = 2
		for range 40 {
			w.append(0, 2, 3000)
		}
		for at := int64(70); at < 90; at += 2 {
			w.rot(0, at)
		}
		seg := w.a.segmentFrom(1, 0)
		w.rot(0, 0)
		g, twin := w.a.Log(pid(0)), w.b.Log(pid(0))
		w.p.CutAfter(w.p.Ops() + n)
		var confirmed int64 = 70
		_, err := g.Patch(fetchTo(t, twin, 70, 80))
		if err == nil {
			confirmed = 80
			if _, err = g.Patch(fetchTo(t, twin, 76, 90)); err == nil {
				confirmed = 90
				g.SetDrained(g.EndOffset())
				w.a.free(seg, drainedBelow)
				w.a.sweepPatches()
				_, err = w.a.Commit(Entry{Log: g, Truncate: true, Offset: 90})
				w.a.sweepPatches()
			}
		}
		if cut = err == nil; cut {
			return // the whole of it was done
		}
		if !errors.Is(err, vfs.ErrPowerCut) && !errors.Is(err, ErrLatched) {
			t.Fatalf("cut after %d: %v", n, err)
		}
		for i, tear := range tears {
			after := w.p.Crash(uint64(n)<<8|uint64(i), tear)
			s, err := Open(w.configOf(after, cloneMeta(w.meta)))
			if err != nil {
				t.Fatalf("cut at %s: %v", w.p.CutAt(), err)
			}
			g := s.Log(pid(0))
			for at := max(70, g.StartOffset()); at < 90; at += 2 {
				out, err := g.Read(at, nil, 1)
				if c := (*CorruptError)(nil); errors.As(err, &c) && at >= confirmed {
					_, err = g.Patch(fetch(t, twin, at, 1))
					if err == nil {
						out, err = g.Read(at, nil, 1)
					}
				}
				if err != nil || string(out) != string(fetch(t, twin, at, 1)) {
					t.Fatalf("cut at %s, offset %d, confirmed were those below %d: %v", w.p.CutAt(), at, confirmed, err)
				}
			}
			if names, _ := s.fs.List(s.cfg.segmentDir()); slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, tmpSuffix) }) {
				t.Errorf("cut at %s: %v", w.p.CutAt(), names)
			}
			s.Close()
		}
	}
}

func cloneMeta(m *memMeta) *memMeta {
	out := newMemMeta()
	out.rng = rand.New(rand.NewPCG(1, 1))
	for bucket, kvs := range m.data {
		out.data[bucket] = map[string][]byte{}
		for k, v := range kvs {
			out.data[bucket][k] = slices.Clone(v)
		}
	}
	return out
}

// TestPatchingBesideEverything: readers, patches, truncations and retention at the
// same time; nobody may read what is not the log's.
func TestPatchingBesideEverything(t *testing.T) {
	w := newTwins(t)
	for range 400 {
		w.append(0, 1, 900)
	}
	for at := int64(0); at < 400; at += 3 {
		w.rot(0, at)
	}
	g, twin := w.a.Log(pid(0)), w.b.Log(pid(0))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	work := func(fn func(rng *rand.Rand)) {
		wg.Go(func() {
			for rng := rand.New(rand.NewPCG(5, 5)); ; {
				select {
				case <-stop:
					return
				default:
					fn(rng)
				}
			}
		})
	}
	for range 2 {
		work(func(rng *rand.Rand) {
			at := rng.Int64N(400)
			out, err := g.Read(at, nil, 1000)
			if err == nil && len(out) > 0 && !strings.HasPrefix(string(fetch(t, twin, at, 1<<20)), string(out)) {
				t.Errorf("read at %d: other bytes than the twin's", at)
			}
		})
	}
	work(func(rng *rand.Rand) {
		at := rng.Int64N(400)
		_, err := g.Patch(fetch(t, twin, at, 3000))
		if err != nil && !errors.Is(err, ErrForeignBatch) && !errors.Is(err, ErrOffsetOutOfRange) {
			t.Errorf("patch at %d: %v", at, err)
		}
	})
	work(func(*rand.Rand) { w.a.sweepPatches(); _, _, _, _ = g.Hole(0) })
	for end := int64(390); end > 200; end -= 10 {
		if _, err := w.a.Commit(Entry{Log: g, Truncate: true, Offset: end}); err != nil {
			t.Fatal(err)
		}
		if end%50 == 0 {
			g.SetDrained(end)
			w.a.freeFirst(1, drainedBelow)
		}
	}
	close(stop)
	wg.Wait()
	w.a.sweepPatches()
	if st := w.a.Stats(); st.Patches != len(w.patchFiles()) || st.Patches != len(g.patches) {
		t.Errorf("%d patches counted, %d files, %d in the log", st.Patches, len(w.patchFiles()), len(g.patches))
	}
}

// TestCheckShowsWhatIsMended: damage that patches cover is no reason to worry.
func TestCheckShowsWhatIsMended(t *testing.T) {
	for _, footer := range []bool{true, false} {
		w := newTwins(t)
		w.fill(150)
		for at := int64(3); at < 20; at += 6 {
			w.rot(0, at)
			w.rot(1, at)
		}
		rotten := false
		check := func() CheckReport {
			t.Helper()
			var r CheckReport
			w.restart(func() {
				n, err := inspect(w.p, "store")
				if err != nil {
					t.Fatal(err)
				}
				if r, err = n.Check(func(int, int) {}); err != nil {
					t.Fatal(err)
				}
				for _, p := range n.Patches() {
					if p.Partition == "" || p.Problem != "" && !rotten || p.First > p.Last {
						t.Errorf("patch is shown as %+v", p)
					}
				}
			})
			return r
		}
		if !footer {
			segs := w.a.segmentFrom(1, 0)
			w.restart(func() { w.flip(w.a.pool.path(segs.slot), SegmentBytesMin-5) })
		}
		if r := check(); len(r.Problems) == 0 || len(r.Mended) > 0 {
			t.Errorf("with footer %v: found %q, mended %q; want all of it to be damage", footer, r.Problems, r.Mended)
		}
		w.mend(1000)
		problems := 0
		if !footer {
			problems = 1 // where nothing tells whose what is lost was, all of it may not be there
		}
		if r := check(); len(r.Problems) != problems || len(r.Mended) == 0 {
			t.Errorf("with footer %v: found %q, mended %q; want %d to be unmended", footer, r.Problems, r.Mended, problems)
		}
		w.flip(w.patchFiles()[0], patchHeaderLen+30)
		rotten = true
		if r := check(); len(r.Problems) < 2 || len(r.Mended) == 0 {
			t.Errorf("with footer %v, a patch rotten: found %q, mended %q", footer, r.Problems, r.Mended)
		}
	}
}

// TestCheckKnowsWhatItCantSee: without a footer nothing tells that a log's last records
// were in what is lost. That the others of it are mended does not make that so.
func TestCheckKnowsWhatItCantSee(t *testing.T) {
	w := newTwins(t)
	w.append(2, 1, 30)
	for range 4 {
		w.append(0, 1, 300)
	}
	w.append(1, 1, 300) // the only batch of partition 1
	for range 4 {
		w.append(0, 1, 300)
	}
	w.rot(0, 3)
	w.rot(1, 0)
	w.restart(func() {})
	if _, err := w.a.Log(pid(0)).Patch(fetch(t, w.b.Log(pid(0)), 3, 1)); err != nil {
		t.Fatal(err)
	}
	w.restart(func() {
		n, err := inspect(w.p, "store")
		if err != nil {
			t.Fatal(err)
		}
		r, err := n.Check(func(int, int) {})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Problems) == 0 {
			t.Errorf("record 0 of partition 1 is lost, and all is called mended: %q", r.Mended)
		}
	})
}

func FuzzPatch(f *testing.F) {
	b := makeBatch(f, "x", "y")
	batch.Stamp(b, 5, 3)
	c := makeBatch(f, "z")
	batch.Stamp(c, 7, 3)
	f.Add(patchHeader{Ref: 1, Epoch: 3, First: 5, Next: 8}.appendPatch(nil, append(b, c...)))
	f.Add(patchHeader{Ref: 1, Epoch: 3, First: 5, Next: 7}.appendPatch(nil, b))
	f.Fuzz(func(t *testing.T, file []byte) {
		h, batches, err := parsePatch(file)
		if err != nil {
			return
		}
		if again := h.appendPatch(nil, batches); string(again) != string(file) {
			t.Errorf("read as %+v and %d bytes, which is another file", h, len(batches))
		}
	})
}

// TestPatchWithoutEpochs: the metadata file was lost, and with it what the log's
// epochs were. Patches are taken, those that are there stay; none of a newer epoch.
func TestPatchWithoutEpochs(t *testing.T) {
	w := newTwins(t)
	for epoch := range int32(6) {
		w.epoch = 1 + epoch
		for range 30 {
			w.append(0, 1, 900)
		}
	}
	twin := w.b.Log(pid(0))
	w.rot(0, 5)
	w.rot(0, 7)
	if _, err := w.a.Log(pid(0)).Patch(fetch(t, twin, 5, 1)); err != nil {
		t.Fatal(err)
	}
	w.restart(func() { clear(w.meta.data) })
	if u := w.a.Unclean(); len(u) == 0 || w.a.Stats().Patches != 1 {
		t.Fatalf("unclean are %v, stats %+v", u, w.a.Stats())
	}
	newer := fetch(t, twin, 7, 1)
	batch.Stamp(newer, 7, 9)
	if _, err := w.a.Log(pid(0)).Patch(newer); !errors.Is(err, ErrForeignBatch) {
		t.Errorf("a patch of a newer epoch than the log has: %v, want ErrForeignBatch", err)
	}
	w.rot(0, 29)
	if _, err := w.a.Log(pid(0)).Patch(fetch(t, twin, 29, 1)); !errors.Is(err, ErrForeignBatch) {
		t.Errorf("a patch between two epochs: %v, want ErrForeignBatch, since nothing proves it", err)
	}
	w.rot(0, 29) // the same bit: it is whole again
	if lost := w.mend(1); lost != 1 {
		t.Errorf("%d records were lost, want the one that had no patch", lost)
	}
	w.same()
}
