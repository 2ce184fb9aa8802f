package segstore

import (
	"fmt"
	"slices"

	"cistern/segstore/vfs"
)

// loadPatches takes in the patches that a store has, without those of records
// that are no more. None of them is a reason not to open it.
func (s *Store) loadPatches() {
	slices.Sort(s.patches.found)
	excess := 0
	for _, number := range s.patches.found {
		s.patches.number = max(s.patches.number, number+1)
		if s.patches.full() {
			excess++
			continue
		}
		name := patchName(number)
		h, read, err := s.lookAtPatch(number)
		switch {
		case err != nil && !read:
			s.log.Error("a patch can't be read; it is left alone", "file", name, "error", err)
		case err != nil:
			s.dropFile(number, err.Error())
		case h.Store != s.id || s.refs[h.Ref] == nil:
			s.log.Error("a patch of another store, or of a partition that nobody knows; it is left alone", "file", name)
		default:
			g := s.refs[h.Ref]
			if h.Next <= g.start || h.Next > g.end || !g.ofEpoch(h.First, h.Next, h.Epoch) {
				s.dropFile(number, "the log has no such records any more")
				continue
			}
			g.addPatch(&patch{number: number, epoch: h.Epoch, first: h.First, next: h.Next, bytes: patchHeaderLen + int64(h.Length)})
		}
	}
	s.patches.found = nil
	if excess > 0 {
		s.log.Error("there are more patches than a store may have; they are left alone", "files", excess, "max", patchesMax, "bytesMax", int64(patchBytesMax))
	}
}

// full says whether nothing can be added; only while the store is opened.
func (t *patchSet) full() bool { return t.files >= patchesMax || t.bytes >= patchBytesMax }

func (s *Store) lookAtPatch(number uint32) (h patchHeader, read bool, err error) {
	err = readSlot(s.fs, s.patchPath(number), func(f vfs.File, size int64) error {
		if size > patchSizeMax {
			return fmt.Errorf("patch: the file has %d bytes, at most %d are expected", size, int64(patchSizeMax))
		}
		b := make([]byte, min(size, patchHeaderLen))
		if _, err := f.ReadAt(b, 0); err != nil {
			return err
		}
		read = true
		var err error
		h, err = parsePatchHeader(b, size)
		return err
	})
	return h, read, err
}

func (s *Store) dropFile(number uint32, why string) {
	s.log.Info("patch removed", "file", patchName(number), "reason", why)
	if err := s.fs.Remove(s.patchPath(number)); err != nil {
		s.log.Warn("patch not removed", "file", patchName(number), "error", err)
	}
}
