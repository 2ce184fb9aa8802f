package segstore

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/segment"
	"cistern/segstore/vfs"
)

// Inspector reads a store's segments and changes nothing: not a byte, not even
// what a crash left behind. It needs no metadata file; the journal names its
// own partitions.
type Inspector struct {
	store *Store // never opened: only its readers are used
	slots []found

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

// CheckReport is what Check found.
type CheckReport struct {
	Segments   int                        `json:"segments"`
	Commits    int64                      `json:"commits"`
	Batches    int64                      `json:"batches"`
	Records    int64                      `json:"records"`
	Bytes      int64                      `json:"bytes"` // of batches
	Partitions map[string]PartitionReport `json:"partitions"`
	Problems   []string                   `json:"problems"`
}

// PartitionReport is the part of a log that was found: First to Next-1.
type PartitionReport struct {
	First   int64 `json:"first"`
	Next    int64 `json:"next"`
	Records int64 `json:"records"`
}

// problemsMax bounds the list in a CheckReport; the last line counts the rest.
const problemsMax = 100

// Check reads every commit of every segment and verifies what can be verified
// without the agent: all checksums, that footers say what the segments hold,
// and that offsets follow each other in every partition. progress is called
// after each segment. It refuses with ErrInUse beside a running agent, whose
// newest segment is never finished.
func (n *Inspector) Check(progress func(done, of int)) (CheckReport, error) {
	if n.InUse {
		return CheckReport{}, ErrInUse
	}
	c := checker{report: CheckReport{Partitions: map[string]PartitionReport{}}, names: map[uint32]metadata.PartitionID{},
		parts: map[uint32]*PartitionReport{}, starts: newState(nil, n.store.log)}
	for i, f := range n.slots {
		switch {
		case f.damaged != nil:
			c.problem("%s can't be identified: %v", slotName(f.slot), f.damaged)
		case !f.spare:
			if err := c.segment(n, f); err != nil {
				return c.report, err
			}
		}
		progress(i+1, len(n.slots))
	}
	c.judgeGaps()
	for ref, p := range c.parts {
		c.report.Partitions[c.name(ref)] = *p
	}
	if c.more > 0 {
		c.report.Problems = append(c.report.Problems, fmt.Sprintf("and %d more", c.more))
	}
	return c.report, nil
}

type checker struct {
	report CheckReport
	names  map[uint32]metadata.PartitionID
	parts  map[uint32]*PartitionReport
	starts *State // where logs start, as the journal last said
	gaps   []gap
	more   int
}

// gap is a place where a batch does not begin where the log ended. Below the
// log's start that is as it should be: segments are freed in any order.
type gap struct {
	where string
	ref   uint32
	from  int64
	to    int64
}

func (c *checker) judgeGaps() {
	for _, g := range c.gaps {
		if noted, ok := parseLogStart(c.starts.Get(startKey(c.names[g.ref]))); ok && noted.offset >= g.to {
			continue
		}
		c.problem("%s: %s: records %d to %d are missing", g.where, c.name(g.ref), g.from, g.to-1)
	}
}

func (c *checker) problem(format string, args ...any) {
	if len(c.report.Problems) >= problemsMax {
		c.more++
		return
	}
	c.report.Problems = append(c.report.Problems, fmt.Sprintf(format, args...))
}

func (c *checker) name(ref uint32) string {
	if id, ok := c.names[ref]; ok {
		return id.String()
	}
	return fmt.Sprintf("partition number %d", ref)
}

func (c *checker) segment(n *Inspector, f found) error {
	c.report.Segments++
	x := segment.Index{}
	err := n.walk(f, func(commit segment.Commit) error {
		c.report.Commits++
		for _, fr := range commit.Frames {
			where := fmt.Sprintf("%s, commit %d, frame at %d", slotName(f.slot), commit.Seq, fr.Pos)
			if err := c.frame(x, where, fr); err != nil {
				c.problem("%s: %v", where, err)
			}
		}
		return nil
	}, func(d *segment.Damage) { c.problem("%s: %v", slotName(f.slot), d) })
	if err != nil {
		return err
	}
	if !f.sealed {
		return nil
	}
	file, err := n.store.fs.OpenRead(n.store.pool.path(f.slot))
	if err != nil {
		return err
	}
	defer file.Close()
	footer, err := readFooter(file, f.size, true)
	if err != nil {
		c.problem("%s: footer: %v", slotName(f.slot), err)
		return nil
	}
	for ref, e := range x {
		have := footer.Index[ref]
		if have == nil || have.Base != e.Base || have.Next != e.Next || !slices.Equal(have.Refs, e.Refs) {
			c.problem("%s: the footer does not say what the segment holds of %s", slotName(f.slot), c.name(ref))
		}
	}
	return nil
}

func (c *checker) frame(x segment.Index, where string, f segment.Frame) error {
	switch f.Type {
	case segment.FrameSnapshot:
		snap, err := parseSnapshot(f.Payload)
		for _, p := range snap.Partitions {
			c.names[p.Ref] = metadata.PartitionID{Stream: p.Stream, Partition: p.Partition}
		}
		for _, e := range snap.State {
			c.starts.load(e)
		}
		return err
	case segment.FrameState:
		e, err := parseStateFrame(f.Payload)
		if err == nil {
			c.starts.load(e)
		}
		return err
	case segment.FrameTruncate, segment.FrameRestart, segment.FrameBatch:
		end, err := indexFrame(x, f)
		if err != nil {
			return err
		}
		return c.follow(where, f, end)
	}
	return fmt.Errorf("%s is not known to this version", f.Type)
}

// follow holds a batch, truncation or restart against the log so far.
func (c *checker) follow(where string, f segment.Frame, end int64) error {
	p := c.parts[f.Partition]
	switch f.Type {
	case segment.FrameRestart:
		c.parts[f.Partition] = &PartitionReport{First: end, Next: end}
		return nil
	case segment.FrameTruncate:
		if p != nil {
			p.Records -= max(p.Next-end, 0)
			p.Next = end
		}
		return nil
	}
	h, err := batch.Verify(f.Payload)
	if err != nil {
		return err
	}
	c.report.Batches++
	c.report.Records += int64(h.Count)
	c.report.Bytes += int64(len(f.Payload))
	if p == nil {
		p = &PartitionReport{First: h.BaseOffset, Next: h.BaseOffset}
		c.parts[f.Partition] = p
	}
	if h.BaseOffset < p.Next {
		return fmt.Errorf("%s: batch begins at offset %d, the log already reached %d", c.name(f.Partition), h.BaseOffset, p.Next)
	}
	if h.BaseOffset > p.Next && len(c.gaps) < problemsMax {
		c.gaps = append(c.gaps, gap{where, f.Partition, p.Next, h.BaseOffset})
	}
	p.Next, p.Records = end, p.Records+int64(h.Count)
	return nil
}
