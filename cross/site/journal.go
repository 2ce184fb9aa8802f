package site

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
	"cistern/segstore/segment"
)

// batchSizeMax bounds what is unpacked from one batch.
const batchSizeMax = 64 << 20

// Journal is all that lies on one gateway's flash, read without the agent.
type Journal struct {
	Name      string
	Logs      map[metadata.PartitionID]*Log
	Truncated int // cuts that were written down, in all logs together
	Unnamed   int // batches of partitions whose names only the metadata file knows
	Damage    []string
}

// Log is one partition's log as it ended up, and all that it ever held of what
// is still on flash.
type Log struct {
	Start, Next int64
	Batches     []Batch // what is left, in order
	Ever        []Batch // all that was written, what was cut off later included
}

// Batch is one batch as it lies there.
type Batch struct {
	Base, Next int64
	Epoch      int32
	Sum        uint64 // of all its bytes: equal batches have equal ones
	Records    []Record
}

// Record is what a device sent.
type Record struct {
	Topic   string
	Payload []byte
}

// seed makes sums of one process comparable.
var seed = maphash.MakeSeed()

// ReadJournal reads a store that no process has open.
func ReadJournal(name, dir string) (*Journal, error) {
	n, err := segstore.Inspect(dir)
	if err != nil {
		return nil, err
	}
	if n.InUse {
		return nil, fmt.Errorf("%s: %w", name, segstore.ErrInUse)
	}
	j := &Journal{Name: name, Logs: map[metadata.PartitionID]*Log{}}
	// Numbers of partitions are the store's: a later segment names those of an
	// earlier one alike.
	names := map[uint32]metadata.PartitionID{}
	for _, s := range n.Segments() {
		switch s.State {
		case "spare":
			continue
		case "damaged":
			j.Damage = append(j.Damage, fmt.Sprintf("%s: %s", s.File, s.Problem))
			continue
		}
		err := n.Walk(s.Slot, func(c segment.Commit) error {
			for _, f := range c.Frames {
				if err := j.frame(names, f); err != nil {
					return fmt.Errorf("%s: %s, commit %d: %w", name, s.File, c.Seq, err)
				}
			}
			return nil
		}, func(d *segment.Damage) { j.Damage = append(j.Damage, fmt.Sprintf("%s: %v", s.File, d)) })
		if err != nil {
			return nil, err
		}
	}
	return j, nil
}

func (j *Journal) frame(names map[uint32]metadata.PartitionID, f segment.Frame) error {
	switch f.Type {
	case segment.FrameSnapshot:
		found, err := segstore.Names(f)
		for ref, id := range found {
			names[ref] = id
		}
		return err
	case segment.FrameBatch, segment.FrameTruncate, segment.FrameRestart:
	default:
		return nil
	}
	id, ok := names[f.Partition]
	if !ok {
		// A stream that was made after the segment was begun is named in the
		// next one. In a test that is what is parked, and not to be compared.
		j.Unnamed++
		return nil
	}
	l := j.Logs[id]
	if f.Type == segment.FrameBatch {
		b, err := readBatch(f.Payload)
		if err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		if l == nil {
			l = &Log{Start: b.Base, Next: b.Base}
			j.Logs[id] = l
		}
		return l.append(b)
	}
	if len(f.Payload) < 8 {
		return fmt.Errorf("%s: a cut of %d bytes", id, len(f.Payload))
	}
	end := int64(binary.BigEndian.Uint64(f.Payload))
	if l == nil {
		l = &Log{Start: end, Next: end}
		j.Logs[id] = l
	}
	j.Truncated += l.cut(end, f.Type == segment.FrameRestart)
	return nil
}

// append adds a batch. Where segments were freed in between, the log begins
// anew: what lies before the gap is below its start.
func (l *Log) append(b Batch) error {
	if b.Base < l.Next {
		return fmt.Errorf("a batch begins at offset %d, and the log had reached %d", b.Base, l.Next)
	}
	if b.Base > l.Next {
		l.Start, l.Batches = b.Base, nil
	}
	l.Next = b.Next
	l.Batches, l.Ever = append(l.Batches, b), append(l.Ever, b)
	return nil
}

// cut takes off what lies at end and behind; a restart leaves nothing. It returns
// 1 when there was something to take off.
func (l *Log) cut(end int64, restart bool) int {
	before := len(l.Batches)
	if restart {
		l.Start, l.Next, l.Batches = end, end, nil
	} else {
		l.Batches = slices.DeleteFunc(l.Batches, func(b Batch) bool { return b.Next > end })
		l.Next = min(l.Next, end)
	}
	if len(l.Batches) < before {
		return 1
	}
	return 0
}

func readBatch(payload []byte) (Batch, error) {
	h, err := batch.Verify(payload)
	if err != nil {
		return Batch{}, err
	}
	b := Batch{Base: h.BaseOffset, Next: h.NextOffset(), Epoch: h.LeaderEpoch, Sum: maphash.Bytes(seed, payload)}
	for r, err := range batch.Records(payload, batchSizeMax) {
		if err != nil {
			return Batch{}, fmt.Errorf("batch at offset %d: %w", h.BaseOffset, err)
		}
		b.Records = append(b.Records, Record{string(r.Key), slices.Clone(r.Value)})
	}
	return b, nil
}
