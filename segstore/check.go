package segstore

import (
	"cmp"
	"fmt"
	"slices"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/segment"
	"cistern/segstore/vfs"
)

// CheckReport is what Check found.
type CheckReport struct {
	Segments   int                        `json:"segments"`
	Commits    int64                      `json:"commits"`
	Batches    int64                      `json:"batches"`
	Records    int64                      `json:"records"`
	Bytes      int64                      `json:"bytes"` // of batches
	Partitions map[string]PartitionReport `json:"partitions"`
	Problems   []string                   `json:"problems"`
	Mended     []string                   `json:"mended,omitempty"` // damage of which all records are in patches
}

// PartitionReport is the part of a log that was found: First to Next-1.
type PartitionReport struct {
	First   int64 `json:"first"`
	Next    int64 `json:"next"`
	Records int64 `json:"records"`
}

// problemsMax bounds each list in a CheckReport, whose last line counts the rest;
// findingsMax what is kept in memory until it can be judged.
const (
	problemsMax = 100
	findingsMax = 10000
)

// Check reads every commit of every segment and verifies what can be verified
// without the agent: all checksums, that footers say what the segments hold,
// and that offsets follow each other in every partition. progress is called
// after each segment. It refuses with ErrInUse beside a running agent, whose
// newest segment is never finished.
func (n *Inspector) Check(progress func(done, of int)) (CheckReport, error) {
	if n.InUse {
		return CheckReport{}, ErrInUse
	}
	c := checker{patches: map[uint32][]patchHeader{}, report: CheckReport{Partitions: map[string]PartitionReport{}}, names: map[uint32]metadata.PartitionID{},
		parts: map[uint32]*PartitionReport{}, starts: newState(nil, n.store.log)}
	n.checkPatches(&c)
	for i, f := range n.slots {
		switch {
		case f.damaged != nil:
			c.problem("%s can't be identified: %v", slotName(f.slot), f.damaged)
		case !f.spare:
			c.segment(n, f)
		}
		progress(i+1, len(n.slots))
	}
	c.judge()
	for ref, p := range c.parts {
		c.report.Partitions[c.name(ref)] = *p
	}
	c.report.Problems, c.report.Mended = shorten(c.report.Problems, c.more), shorten(c.report.Mended, 0)
	return c.report, nil
}

func shorten(lines []string, more int) []string {
	if n := len(lines) - problemsMax; n > 0 {
		lines, more = lines[:problemsMax], more+n
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return lines
}

type checker struct {
	report   CheckReport
	names    map[uint32]metadata.PartitionID
	parts    map[uint32]*PartitionReport
	starts   *State // where logs start, as the journal last said
	patches  map[uint32][]patchHeader
	findings []finding
	more     int
}

// finding is something amiss, and which records of which partitions it costs.
type finding struct {
	text  string
	costs []cost // none: no patch can mend it
	gap   bool   // nothing else is amiss: below the log's start that is as it should be
}

type cost struct {
	ref      uint32
	from, to int64
}

// judge sorts what was found into what is lost and what patches hold. Offsets that
// are missing below a log's start are neither: segments are freed in any order.
func (c *checker) judge() {
	for _, p := range c.patches {
		slices.SortFunc(p, func(a, b patchHeader) int { return cmp.Compare(a.First, b.First) })
	}
	for _, f := range c.findings {
		expired, patched := 0, 0
		for _, k := range f.costs {
			if c.expired(k) {
				expired++
			} else if c.patched(k) {
				patched++
			}
		}
		switch {
		case f.gap && expired > 0:
		case patched > 0 && expired+patched == len(f.costs):
			c.report.Mended = append(c.report.Mended, f.text)
		default:
			c.report.Problems = append(c.report.Problems, f.text)
		}
	}
}

func (c *checker) expired(k cost) bool {
	noted, ok := parseLogStart(c.starts.Get(startKey(c.names[k.ref])))
	return ok && noted.offset >= k.to
}

func (c *checker) patched(k cost) bool {
	for _, p := range c.patches[k.ref] {
		if p.First <= k.from && k.from < p.Next {
			k.from = p.Next
		}
	}
	return k.from >= k.to
}

func (c *checker) problem(format string, args ...any) {
	c.found(finding{text: fmt.Sprintf(format, args...)})
}

func (c *checker) found(f finding) {
	if len(c.findings) >= findingsMax {
		c.more++
		return
	}
	c.findings = append(c.findings, f)
}

func (c *checker) name(ref uint32) string {
	if id, ok := c.names[ref]; ok {
		return id.String()
	}
	return fmt.Sprintf("partition number %d", ref)
}

func (c *checker) segment(n *Inspector, f found) {
	c.report.Segments++
	x := segment.Index{}
	var damages []*segment.Damage
	before := len(c.findings)
	err := n.walk(f, func(commit segment.Commit) error {
		c.report.Commits++
		for _, fr := range commit.Frames {
			where := fmt.Sprintf("%s, commit %d, frame at %d", slotName(f.slot), commit.Seq, fr.Pos)
			if err := c.frame(x, where, fr); err != nil {
				c.problem("%s: %v", where, err)
			}
		}
		return nil
	}, func(d *segment.Damage) { damages = append(damages, d) })
	if err != nil {
		c.problem("%s: %v", slotName(f.slot), err)
	}
	footer, err := n.footer(f)
	if err != nil {
		c.problem("%s: footer: %v", slotName(f.slot), err)
	}
	var found []finding
	for _, d := range damages {
		// Without a footer, or with one made up without what is lost, nothing tells
		// of whom it was: a gap only shows in a log that goes on behind it.
		found = append(found, finding{text: fmt.Sprintf("%s: %v", slotName(f.slot), d), costs: damaged(footer.Index, d)})
	}
	c.findings = slices.Insert(c.findings, before, found...) // the cause before what follows from it
	if f.sealed && err == nil {
		c.compare(f, x, footer.Index, damages)
	}
}

// footer reads the whole footer of a segment that has one.
func (n *Inspector) footer(f found) (out segment.Footer, err error) {
	if !f.sealed {
		return out, nil
	}
	err = readSlot(n.store.fs, n.store.pool.path(f.slot), func(file vfs.File, size int64) error {
		out, err = readFooter(file, size, true)
		return err
	})
	return out, err
}

// damaged returns the records that an index has where commits are lost.
func damaged(x segment.Index, d *segment.Damage) (costs []cost) {
	for ref, e := range x {
		for i, r := range e.Refs {
			if !within(d, r) {
				continue
			}
			to := e.Next
			if i+1 < len(e.Refs) {
				to = e.Refs[i+1].Offset
			}
			costs = append(costs, cost{ref, r.Offset, to})
		}
	}
	return costs
}

func within(d *segment.Damage, r segment.BatchRef) bool {
	return d.From <= int64(r.Pos) && int64(r.Pos) < d.To
}

// compare holds a footer against what the segment holds; what damage took is not
// said twice.
func (c *checker) compare(f found, x, footer segment.Index, damages []*segment.Damage) {
	for ref, e := range x {
		have := footer[ref]
		same := have != nil
		if same {
			rest := slices.DeleteFunc(slices.Clone(have.Refs), func(r segment.BatchRef) bool {
				return slices.ContainsFunc(damages, func(d *segment.Damage) bool { return within(d, r) })
			})
			whole := len(rest) == len(have.Refs)
			same = slices.Equal(rest, e.Refs) && (!whole || have.Base == e.Base && have.Next == e.Next)
		}
		if !same {
			c.problem("%s: the footer does not say what the segment holds of %s", slotName(f.slot), c.name(ref))
		}
	}
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
	if h.BaseOffset > p.Next {
		c.found(finding{fmt.Sprintf("%s: %s: records %d to %d are missing", where, c.name(f.Partition), p.Next, h.BaseOffset-1),
			[]cost{{f.Partition, p.Next, h.BaseOffset}}, true})
	}
	p.Next, p.Records = end, p.Records+int64(h.Count)
	return nil
}
