package segstore

import (
	"cmp"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"cistern/segstore/batch"
	"cistern/segstore/vfs"
)

// patch is a file beside the segments that holds what flash lost of a log, as
// another copy gave it back. Files, since it is rare: the journal's pages are never
// rewritten.
type patch struct {
	number      uint32
	epoch       int32
	first, next int64
	bytes       int64 // of the file
	damaged     bool  // when it was read last; of the log's mutex
}

// patchSet counts a store's patches, and remembers which files are to go.
type patchSet struct {
	making sync.Mutex // one Patch at a time

	mu      sync.Mutex
	number  uint32 // of the next one
	files   int
	records int64
	bytes   int64
	gone    []uint32
	lent    *loan

	found []uint32 // while the store is opened
}

func (t *patchSet) add(p *patch, sign int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.files += sign
	t.records += int64(sign) * (p.next - p.first)
	t.bytes += int64(sign) * p.bytes
	if sign < 0 {
		t.gone = append(t.gone, p.number)
	}
}

// room says whether pieces can be added, and numbers the first of them.
func (t *patchSet) room(pieces []piece) (number uint32, err error) {
	bytes := int64(0)
	for _, p := range pieces {
		bytes += patchHeaderLen + int64(len(p.batches))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.files+len(pieces) > patchesMax || t.bytes+bytes > patchBytesMax {
		return 0, ErrPatchesFull
	}
	number = t.number
	t.number += uint32(len(pieces))
	return number, nil
}

// writePatches makes a file of every piece. They are durable on return; on an
// error there are none.
func (s *Store) writePatches(pieces []piece) (made []*patch, err error) {
	number, err := s.patches.room(pieces)
	if err != nil {
		return nil, err
	}
	for i, p := range pieces {
		data := p.appendPatch(nil, p.batches)
		m := &patch{number: number + uint32(i), epoch: p.Epoch, first: p.First, next: p.Next, bytes: int64(len(data))}
		made = append(made, m)
		if err = s.writePatch(m.number, data); err != nil {
			break
		}
	}
	if err == nil {
		err = s.fs.SyncDir(s.cfg.segmentDir())
	}
	if err != nil {
		for _, m := range made {
			_ = s.fs.Remove(s.patchPath(m.number)) // else the next start meets a good patch
		}
		return nil, err
	}
	return made, nil
}

func (s *Store) patchPath(number uint32) string {
	return filepath.Join(s.cfg.segmentDir(), patchName(number))
}

// writePatch makes one file: under a temporary name until its bytes are durable.
func (s *Store) writePatch(number uint32, data []byte) error {
	path := s.patchPath(number)
	f, err := s.fs.Create(path + tmpSuffix)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.fs.Rename(path+tmpSuffix, path)
	}
	if err != nil {
		_ = s.fs.Remove(path + tmpSuffix) // else the next start does it
	}
	return err
}

// takePatches makes files part of the log, unless it was cut since cuts was
// taken: then they go again.
func (g *Log) takePatches(made []*patch, cuts uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range made {
		g.addPatch(p)
	}
	g.dropPatches(func(p *patch) bool {
		return p.next <= g.start || g.cuts != cuts && slices.Contains(made, p) || p.damaged && g.covered(p.first, p.next)
	})
	return g.cuts == cuts
}

// addPatch and dropPatches keep a log's patches, in order. The mutex is held.
func (g *Log) addPatch(p *patch) {
	g.patches = append(g.patches, p)
	slices.SortFunc(g.patches, func(a, b *patch) int { return cmp.Compare(a.first, b.first) })
	g.store.patches.add(p, 1)
}

func (g *Log) dropPatches(gone func(*patch) bool) {
	if len(g.patches) == 0 {
		return
	}
	kept := make([]*patch, 0, len(g.patches))
	for _, p := range g.patches {
		if !gone(p) {
			kept = append(kept, p)
			continue
		}
		g.store.patches.add(p, -1)
		g.store.wake()
	}
	g.patches = kept
}

// covered says whether patches that are not damaged hold all of first to next-1.
// The mutex is held.
func (g *Log) covered(first, next int64) bool {
	for _, p := range g.patches {
		if !p.damaged && p.first <= first && first < p.next {
			first = p.next
		}
	}
	return first >= next
}

// sweepPatches removes the files of patches that logs have let go of. Those that
// a crash leaves, the next start removes.
func (s *Store) sweepPatches() {
	s.patches.mu.Lock()
	gone := s.patches.gone
	s.patches.gone = nil
	s.patches.mu.Unlock()
	for _, number := range gone {
		if err := s.fs.Remove(s.patchPath(number)); err != nil {
			s.log.Warn("patch not removed; the next start tries again", "file", patchName(number), "error", err)
		}
	}
}

// patchesAt returns the patches that may hold offset, those last found good
// first. One of another leader epoch than the log has there is not its own.
func (g *Log) patchesAt(offset int64) (good, damaged []*patch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.patches {
		switch {
		case offset < p.first || offset >= p.next || !g.epochMayBe(offset, p.epoch):
		case p.damaged:
			damaged = append(damaged, p)
		default:
			good = append(good, p)
		}
	}
	return good, damaged
}

// patched returns the batches of the patch that holds offset, or those that are lent;
// nil when there are none. An error says that there is a patch, and that it can't be
// read for now: not for what flash holds.
func (g *Log) patched(offset int64) ([]byte, error) {
	var later error
	good, damaged := g.patchesAt(offset)
	for _, p := range append(good, damaged...) {
		batches, rotten, err := g.store.readPatch(p, g.ref)
		g.mu.Lock()
		held := slices.Contains(g.patches, p)
		rotten = rotten || held && errors.Is(err, fs.ErrNotExist)
		news := held && rotten && !p.damaged
		if held && (err == nil || rotten) {
			p.damaged = rotten
		}
		g.mu.Unlock()
		switch {
		case err == nil:
			return batches, nil
		case !held:
			return g.patched(offset) // it went meanwhile, and another may have come
		case !rotten:
			later = err
		case news:
			g.store.log.Error("a patch can't be read: another copy has to give its records again", "partition", g.id,
				"file", patchName(p.number), "first", p.first, "last", p.next-1, "error", err)
		}
	}
	if lent := g.lentAt(offset); lent != nil {
		return lent, nil
	}
	return nil, later
}

// readPatch reads and verifies the whole of a patch. An error with rotten is about
// what flash holds, and not about this process.
func (s *Store) readPatch(p *patch, ref uint32) (batches []byte, rotten bool, err error) {
	err = readSlot(s.fs, s.patchPath(p.number), func(f vfs.File, size int64) error {
		b := make([]byte, p.bytes)
		if _, err := f.ReadAt(b, 0); err != nil {
			return err
		}
		h, found, err := parsePatch(b)
		if err == nil && (h.Store != s.id || h.Ref != ref || h.Epoch != p.epoch || h.First != p.first || h.Next != p.next) {
			err = errors.New("patch: it is another one than it was")
		}
		batches, rotten = found, err != nil
		return err
	})
	return batches, rotten || isRot(err), err
}

// readPatched reads from a patch what the journal lost, and returns nil; else c,
// without what patches hold on either side of offset.
func (g *Log) readPatched(offset, limit int64, c *CorruptError, buf []byte, sizeMax int) ([]byte, error) {
	rest, err := g.patched(offset)
	if err != nil {
		return buf, err
	}
	if rest == nil {
		g.beforeLoan(offset, c)
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, p := range g.patches {
			if p.damaged {
				continue
			}
			if p.next <= offset {
				c.FirstOffset = max(c.FirstOffset, p.next)
			} else if p.first > offset {
				c.LastOffset = min(c.LastOffset, p.first-1)
			}
		}
		return buf, c
	}
	start := len(buf)
	for len(rest) > 0 {
		h, err := batch.ParseHeader(rest) // all were verified
		if err != nil || h.NextOffset() > limit || len(buf) > start && len(buf)-start+h.Size() > sizeMax {
			break
		}
		if h.NextOffset() > offset {
			buf = append(buf, rest[:h.Size()]...)
		}
		rest = rest[h.Size():]
	}
	return buf, nil
}
