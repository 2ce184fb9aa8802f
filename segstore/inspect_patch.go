package segstore

import (
	"errors"
	"fmt"
	"path/filepath"

	"cistern/gossip/metadata"
	"cistern/segstore/segment"
	"cistern/segstore/vfs"
)

// PatchSummary tells about one patch: records that flash lost here, as another
// gateway had them.
type PatchSummary struct {
	File      string `json:"file"`
	Partition string `json:"partition,omitempty"`
	First     int64  `json:"first"`
	Last      int64  `json:"last"`
	Epoch     int32  `json:"leader_epoch"`
	Bytes     int64  `json:"bytes"`
	Problem   string `json:"problem,omitempty"`
}

// Patches lists the patches, and whether each can be read.
func (n *Inspector) Patches() (out []PatchSummary) {
	if len(n.patches) == 0 {
		return nil
	}
	names := n.names()
	for _, number := range n.patches {
		h, _, size, err := n.patch(patchName(number))
		s := PatchSummary{File: patchName(number), First: h.First, Last: h.Next - 1, Epoch: h.Epoch, Bytes: size}
		if id, ok := names[h.Ref]; ok {
			s.Partition = id.String()
		} else if h.Next > 0 {
			s.Partition = fmt.Sprintf("partition number %d", h.Ref)
		}
		if err != nil {
			s.Problem = err.Error()
		}
		out = append(out, s)
	}
	return out
}

// PatchBatches returns the batches in a patch.
func (n *Inspector) PatchBatches(file string) ([]byte, error) {
	_, batches, _, err := n.patch(file)
	return batches, err
}

func (n *Inspector) patch(file string) (h patchHeader, batches []byte, size int64, err error) {
	path := filepath.Join(n.store.cfg.segmentDir(), file)
	err = readSlot(n.store.fs, path, func(f vfs.File, bytes int64) (err error) {
		if size = bytes; size > patchSizeMax {
			return fmt.Errorf("patch: the file has %d bytes, at most %d are expected", size, patchSizeMax)
		}
		b := make([]byte, size)
		if _, err := f.ReadAt(b, 0); err != nil {
			return err
		}
		h, batches, err = parsePatch(b)
		return err
	})
	return h, batches, size, err
}

// checkPatches takes in what patches hold.
func (n *Inspector) checkPatches(c *checker) {
	for _, number := range n.patches {
		h, _, _, err := n.patch(patchName(number))
		if err != nil {
			c.problem("%s: %v", patchName(number), err)
			continue
		}
		c.patches[h.Ref] = append(c.patches[h.Ref], h)
	}
}

// names returns the partitions that the snapshots of the segments name.
func (n *Inspector) names() map[uint32]metadata.PartitionID {
	names, enough := map[uint32]metadata.PartitionID{}, errors.New("seen")
	for _, f := range n.slots {
		if f.spare || f.damaged != nil {
			continue
		}
		_ = n.walk(f, func(c segment.Commit) error { // what can't be read names nobody
			for _, fr := range c.Frames {
				if fr.Type != segment.FrameSnapshot {
					continue
				}
				found, err := Names(fr)
				if err != nil {
					return err
				}
				for ref, id := range found {
					names[ref] = id
				}
			}
			return enough
		}, func(*segment.Damage) {})
	}
	return names
}
