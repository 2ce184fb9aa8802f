package segstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"cistern/segstore/batch"
	"cistern/segstore/vfs"
)

// twins are two copies of the same records, as a leader and a follower have them.
type twins struct {
	t     testing.TB
	p     *vfs.PowerCut // the first one's device
	meta  *memMeta
	a, b  *Store
	epoch int32
}

func newTwins(t testing.TB) *twins {
	t.Helper()
	w := &twins{t: t, p: vfs.NewPowerCut(), meta: newMemMeta(), epoch: 1}
	w.meta.rng = rand.New(rand.NewPCG(1, 1))
	w.a = openStore(t, w.config(w.p))
	w.b = openStore(t, w.configOf(vfs.NewPowerCut(), newMemMeta()))
	t.Cleanup(func() { w.a.Close(); w.b.Close() })
	for _, s := range []*Store{w.a, w.b} {
		if err := errors.Join(s.PutStream(testStream("a", crashPartitions-1)), s.PutStream(testStream("b", 1))); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *twins) config(fsys vfs.FS) Config { return w.configOf(fsys, w.meta) }

func (w *twins) configOf(fsys vfs.FS, meta *memMeta) Config {
	c := crashConfig(fsys, meta)
	c.MaxBytes = 64 * SegmentBytesMin
	return c
}

// append gives both the same batch; records are values of that many bytes.
func (w *twins) append(p, records, size int) {
	w.t.Helper()
	var values []string
	end := w.b.Log(pid(p)).EndOffset()
	for i := range records {
		values = append(values, fmt.Sprintf("%d-%d-%0*d", p, end+int64(i), size, 7))
	}
	b := makeBatch(w.t, values...)
	batch.Stamp(b, end, w.epoch)
	for _, s := range []*Store{w.a, w.b} {
		if _, err := s.Commit(Entry{Log: s.Log(pid(p)), Batch: b, Verbatim: true}); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *twins) fill(batches int) {
	w.t.Helper()
	rng := rand.New(rand.NewPCG(3, 3))
	for i := range batches {
		if i%17 == 16 {
			w.epoch++
		}
		w.append(i%crashPartitions, 1+rng.IntN(4), []int{30, 500, 9000}[rng.IntN(3)])
	}
}

// restart closes the first copy, does what is to be done to its files, and opens it.
func (w *twins) restart(harm func()) {
	w.t.Helper()
	if err := w.a.Close(); err != nil {
		w.t.Fatal(err)
	}
	harm()
	w.a = openStore(w.t, w.config(w.p))
}

// flip changes a bit of a file of the first copy, behind its back.
func (w *twins) flip(path string, pos int64) {
	w.t.Helper()
	b := make([]byte, 1)
	w.change(path, func(f vfs.File) error {
		if _, err := f.ReadAt(b, pos); err != nil {
			return err
		}
		b[0] ^= 0x10
		_, err := f.WriteAt(b, pos)
		return err
	})
}

func (w *twins) change(path string, fn func(vfs.File) error) {
	w.t.Helper()
	f, err := w.p.Open(path)
	if err == nil {
		err = errors.Join(fn(f), f.Sync(), f.Close())
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// wipe leaves nothing of a segment.
func (w *twins) wipe(seg *segmentInfo) {
	w.change(w.a.pool.path(seg.slot), func(f vfs.File) error {
		_, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, int(seg.size)), 0)
		return err
	})
}

// mend reads all of the first copy, gives it what it can't read from the other,
// and returns how many records that were.
func (w *twins) mend(sizeMax int) (lost int64) {
	w.t.Helper()
	for p := range crashPartitions {
		a, b := w.a.Log(pid(p)), w.b.Log(pid(p))
		patched := int64(-1)
		for at := a.StartOffset(); at < a.EndOffset(); {
			out, err := a.Read(at, nil, sizeMax)
			if c := (*CorruptError)(nil); errors.As(err, &c) {
				if c.FirstOffset > at || c.LastOffset < at || c.FirstOffset <= patched {
					w.t.Fatalf("read at %d, patched up to %d: %v", at, patched, err)
				}
				fetched := fetch(w.t, b, c.FirstOffset, sizeMax)
				if _, err := a.Patch(fetched); err != nil {
					w.t.Fatalf("patch for %v: %v", c, err)
				}
				next := nextOf(w.t, fetched)
				lost += min(next, c.LastOffset+1) - c.FirstOffset
				patched = next - 1
				continue
			}
			if err != nil {
				w.t.Fatal(err)
			}
			at = nextOf(w.t, out)
		}
	}
	return lost
}

func fetch(t testing.TB, g *Log, at int64, sizeMax int) []byte {
	t.Helper()
	out, err := g.Read(at, nil, sizeMax)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// fetchTo returns all batches from at to next-1.
func fetchTo(t testing.TB, g *Log, at, next int64) (out []byte) {
	t.Helper()
	for at < next {
		out = append(out, fetch(t, g, at, 1)...)
		at = nextOf(t, out)
	}
	return out
}

func nextOf(t testing.TB, batches []byte) (next int64) {
	t.Helper()
	for len(batches) > 0 {
		h, err := batch.ParseHeader(batches)
		if err != nil {
			t.Fatal(err)
		}
		next, batches = h.NextOffset(), batches[h.Size():]
	}
	return next
}

// same fails unless both copies read back the same, byte for byte, from where the
// first begins; whole is the reach of a read.
func (w *twins) same() {
	w.t.Helper()
	for p := range crashPartitions {
		a, b := w.a.Log(pid(p)), w.b.Log(pid(p))
		if a.EndOffset() != b.EndOffset() {
			w.t.Fatalf("partition %d ends at %d, its twin at %d", p, a.EndOffset(), b.EndOffset())
		}
		var x, y []byte
		for at := a.StartOffset(); at < a.EndOffset(); at = nextOf(w.t, x) {
			x = append(x, fetch(w.t, a, at, 3000)...)
		}
		for at := a.StartOffset(); at < b.EndOffset(); at = nextOf(w.t, y) {
			y = append(y, fetch(w.t, b, at, 3000)...)
		}
		if !bytes.Equal(x, y) {
			w.t.Fatalf("partition %d reads %d bytes, its twin %d, and they are not the same", p, len(x), len(y))
		}
	}
}

// TestPatchMendsWhatRots flips bits anywhere in sealed segments, while the store
// is open and before it is opened. Once what a twin has was patched in, all is
// there again, also after another start.
func TestPatchMendsWhatRots(t *testing.T) {
	for seed := range uint64(12) {
		for _, closed := range []bool{false, true} {
			t.Run(fmt.Sprint(seed, closed), func(t *testing.T) {
				w := newTwins(t)
				w.fill(150)
				rng := rand.New(rand.NewPCG(seed, 9))
				harm := func() {
					for seg := w.a.segmentFrom(1, 0); seg.sealed.Load(); seg = w.a.segmentFrom(1, seg.id+1) {
						for range 1 + rng.IntN(3) {
							w.flip(w.a.pool.path(seg.slot), rng.Int64N(SegmentBytesMin))
						}
					}
				}
				if closed {
					w.restart(harm)
				} else {
					harm()
				}
				lost := w.mend(1 + rng.IntN(30000))
				if lost == 0 {
					t.Fatal("nothing was lost: the test shows nothing")
				}
				w.same()
				if st := w.a.Stats(); st.PatchedRecords < lost || st.Patches == 0 || st.PatchedBytes == 0 {
					t.Errorf("%d records were lost, and stats are %+v", lost, st)
				}
				w.restart(func() {})
				w.same()
				if again := w.mend(1000); again != 0 {
					t.Errorf("%d records lost once more", again)
				}
			})
		}
	}
}

// TestPatchMendsALostSegment: nothing of a segment can be read, wherever it lies
// among the others: an erase block is about as large.
func TestPatchMendsALostSegment(t *testing.T) {
	for at := range 5 {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			w := newTwins(t)
			w.fill(150)
			n := 0
			for seg := w.a.segmentFrom(1, 0); seg != nil; seg = w.a.segmentFrom(1, seg.id+1) {
				n++
			}
			if n < 7 {
				t.Fatalf("only %d segments", n)
			}
			seg := w.a.segmentFrom(1, 0)
			for range at {
				seg = w.a.segmentFrom(1, seg.id+1)
			}
			x, err := w.a.index.get(seg)
			if err != nil {
				t.Fatal(err)
			}
			held := int64(0)
			for _, e := range x {
				held += e.Next - e.Base
			}
			w.restart(func() { w.wipe(seg) })
			if lost := w.mend(20000); lost != held {
				t.Errorf("%d records were called lost, the segment held %d", lost, held)
			}
			w.same()
			w.restart(func() {})
			w.same()
			for p := range crashPartitions {
				if first, last, ok, err := w.a.Log(pid(p)).Hole(0); ok || err != nil {
					t.Errorf("partition %d: a hole from %d to %d is left (%v)", p, first, last, err)
				}
				if s := w.a.Log(pid(p)).StartOffset(); s != 0 {
					t.Errorf("partition %d starts at %d: what was lost is not even missed", p, s)
				}
			}
		})
	}
}

func (w *twins) patchFiles() (names []string) {
	w.t.Helper()
	all, err := w.a.fs.List(w.a.cfg.segmentDir())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, n := range all {
		if strings.Contains(n, patchSuffix) {
			names = append(names, filepath.Join(w.a.cfg.segmentDir(), n))
		}
	}
	return names
}
