package segstore

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"cistern/gossip/metadata"
	"cistern/segstore/segment"
	"cistern/segstore/vfs"
)

// Inspector reads a store's segments and changes nothing: not a byte, not even
// what a crash left behind. It needs no metadata file; the journal names its
// own partitions.
type Inspector struct {
	store   *Store // never opened: only its readers are used
	slots   []found
	patches []uint32

	// InUse says that an agent has the store open. Sealed segments can be
	// read all the same; what the newest one holds may change meanwhile.
	InUse bool
}

// SegmentSummary is what header and footer tell about one segment file.
type SegmentSummary struct {
	File      string `json:"file"`
	Slot      uint32 `json:"slot"`
	Bytes     int64  `json:"bytes"`
	Lane      string `json:"lane,omitempty"`
	ID        uint64 `json:"id,omitempty"`
	FirstSeq  uint64 `json:"first_commit,omitempty"`
	LastSeq   uint64 `json:"last_commit,omitempty"` // of sealed ones
	AgeMillis int64  `json:"age_ms,omitempty"`      // of sealed ones: store age at the last commit
	State     string `json:"state"`                 // spare, sealed, open or damaged
	Problem   string `json:"problem,omitempty"`
}

// Inspect looks at the store in dir.
func Inspect(dir string) (*Inspector, error) { return inspect(vfs.OS, dir) }

func inspect(fsys vfs.FS, dir string) (*Inspector, error) {
	cfg := Config{Dir: dir, FS: fsys}
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	n := &Inspector{store: &Store{cfg: cfg, fs: fsys, log: cfg.Logger}}
	names, err := fsys.List(cfg.segmentDir())
	if err != nil {
		return nil, fmt.Errorf("%s holds no store: %w", dir, err)
	}
	lock, err := fsys.Lock(filepath.Join(dir, lockFile))
	switch {
	case errors.Is(err, vfs.ErrLocked):
		n.InUse = true
	case err != nil:
		return nil, err
	default:
		defer lock.Close()
	}
	n.store.pool = &pool{fs: fsys, dir: cfg.segmentDir()}
	for _, name := range names {
		if number, ok := parsePatchName(name); ok {
			n.patches = append(n.patches, number)
		}
		slot, ok := parseSlotName(name)
		if !ok {
			continue
		}
		f := found{slot: slot}
		if err := n.store.lookAt(&f); err != nil && !errors.Is(err, ErrForeign) {
			return nil, err
		}
		n.slots = append(n.slots, f)
	}
	slices.SortFunc(n.slots, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.lane, b.lane), cmp.Compare(a.id, b.id), cmp.Compare(a.slot, b.slot))
	})
	return n, nil
}

// Segments lists every segment file, by lane and age.
func (n *Inspector) Segments() []SegmentSummary {
	var out []SegmentSummary
	for _, f := range n.slots {
		s := SegmentSummary{File: slotName(f.slot), Slot: f.slot, Bytes: f.size, State: "open"}
		switch {
		case f.damaged != nil:
			s.State, s.Problem = "damaged", f.damaged.Error()
		case f.spare:
			s.State = "spare"
		case f.sealed:
			s.State = "sealed"
		}
		if f.id != 0 {
			s.ID, s.FirstSeq, s.LastSeq, s.AgeMillis = f.id, f.first, f.last, f.age
			s.Lane = laneName(f.lane)
		}
		out = append(out, s)
	}
	return out
}

func laneName(i uint8) string {
	if int(i) < len(metadata.Lanes) {
		return metadata.Lanes[i]
	}
	return fmt.Sprintf("lane %d", i)
}

// Walk calls fn with every commit of the segment in a slot, and damaged for
// every gap. A segment begun and never confirmed has none.
func (n *Inspector) Walk(slot uint32, fn func(segment.Commit) error, damaged func(*segment.Damage)) error {
	i := slices.IndexFunc(n.slots, func(f found) bool { return f.slot == slot })
	if i < 0 {
		return fmt.Errorf("there is no segment file %s", slotName(slot))
	}
	if n.slots[i].spare {
		return nil
	}
	return n.walk(n.slots[i], fn, damaged)
}

func (n *Inspector) walk(f found, fn func(segment.Commit) error, damaged func(*segment.Damage)) error {
	seqEnd := uint64(0)
	if f.sealed {
		seqEnd = f.last + 1
	}
	file, err := n.store.fs.OpenRead(n.store.pool.path(f.slot))
	if err != nil {
		return err
	}
	defer file.Close()
	h, err := readHeader(file, f.size)
	if err != nil {
		return fmt.Errorf("%s: %w", slotName(f.slot), err)
	}
	_, err = segment.Scan(file, h, seqEnd, fn, damaged)
	return err
}

// Names returns the partitions a snapshot frame names, by number.
func Names(f segment.Frame) (map[uint32]metadata.PartitionID, error) {
	snap, err := parseSnapshot(f.Payload)
	if err != nil {
		return nil, err
	}
	out := map[uint32]metadata.PartitionID{}
	for _, p := range snap.Partitions {
		out[p.Ref] = metadata.PartitionID{Stream: p.Stream, Partition: p.Partition}
	}
	return out, nil
}
