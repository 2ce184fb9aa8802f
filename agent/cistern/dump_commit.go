package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"cistern/agent"
	"cistern/agent/status"
	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
	"cistern/segstore/segment"
)

// commitJSON is one line of dump --json.
type commitJSON struct {
	Commit   uint64      `json:"commit"`
	Position int64       `json:"position"`
	Bytes    uint32      `json:"bytes"`
	Time     time.Time   `json:"time"`
	Frames   []frameJSON `json:"frames"`
}

type frameJSON struct {
	Type        string              `json:"type"`
	Position    int64               `json:"position"`
	Bytes       int                 `json:"bytes"`
	Partition   string              `json:"partition,omitempty"`
	FirstOffset *int64              `json:"first_offset,omitempty"`
	LastOffset  *int64              `json:"last_offset,omitempty"`
	LeaderEpoch *int32              `json:"leader_epoch,omitempty"`
	Codec       string              `json:"codec,omitempty"`
	Records     []status.TailRecord `json:"records,omitempty"`
	Problem     string              `json:"problem,omitempty"`
}

// commits shows what one segment holds. Damage is shown where it is, and is the
// command's error at the end.
func (d *dumper) commits(n *segstore.Inspector, s segstore.SegmentSummary) error {
	names := map[uint32]metadata.PartitionID{}
	var damage *segment.Damage
	err := n.Walk(s.Slot, func(c segment.Commit) error {
		out := commitJSON{c.Seq, c.Pos, c.Length, time.UnixMilli(c.WallMilli).UTC(), nil}
		for _, f := range c.Frames {
			out.Frames = append(out.Frames, d.frame(names, f))
		}
		return d.show(&out)
	}, func(found *segment.Damage) {
		damage = found
		if !d.json {
			fmt.Fprintf(d.out, "%s %v\n", d.paint.red("damaged:"), found)
		}
	})
	if err == nil && damage != nil {
		err = &fault{damage, "", exitDamaged}
	}
	return errors.Join(err, d.out.Flush())
}

func (d *dumper) show(c *commitJSON) error {
	if d.json {
		return json.NewEncoder(d.out).Encode(c)
	}
	fmt.Fprintf(d.out, "commit %d at %d, %d bytes, %s\n", c.Commit, c.Position, c.Bytes, c.Time.Format("2006-01-02 15:04:05.000"))
	for _, f := range c.Frames {
		fmt.Fprintf(d.out, "  %-8s %6d bytes  %s\n", f.Type, f.Bytes, frameLine(&f))
		if err := d.showRecords(f.Records); err != nil {
			return err
		}
	}
	return nil
}

func (d *dumper) showRecords(records []status.TailRecord) error {
	for i := range records {
		fmt.Fprintf(d.out, "    %d  ", records[i].Offset)
		if err := showRecord(d.out, d.paint, &records[i]); err != nil {
			return err
		}
	}
	return nil
}

func frameLine(f *frameJSON) string {
	switch {
	case f.Problem != "":
		return shownPartition(f.Partition) + " " + f.Problem
	case f.FirstOffset != nil && f.LastOffset != nil:
		return fmt.Sprintf("%s offsets %d to %d, epoch %d, %s", shownPartition(f.Partition), *f.FirstOffset, *f.LastOffset, *f.LeaderEpoch, f.Codec)
	}
	return shownPartition(f.Partition)
}

// frame describes one frame; a snapshot names the partitions that follow.
func (d *dumper) frame(names map[uint32]metadata.PartitionID, f segment.Frame) frameJSON {
	out := frameJSON{Type: f.Type.String(), Position: f.Pos, Bytes: len(f.Payload)}
	switch f.Type {
	case segment.FrameSnapshot:
		found, err := segstore.Names(f)
		if err != nil {
			out.Problem = err.Error()
		}
		for ref, name := range found {
			names[ref] = name
		}
	case segment.FrameBatch, segment.FrameTruncate, segment.FrameRestart:
		name, known := names[f.Partition]
		out.Partition = name.String()
		if !known {
			out.Partition = fmt.Sprintf("partition number %d", f.Partition)
		}
		if f.Type == segment.FrameBatch {
			d.batch(&out, name, f.Payload)
		}
	}
	return out
}

// recordsBytesMax bounds the decompressed size of a batch that is shown.
const recordsBytesMax = 64 << 20

func (d *dumper) batch(out *frameJSON, p metadata.PartitionID, b []byte) {
	h, err := batch.Verify(b)
	if err != nil {
		out.Problem = err.Error()
		return
	}
	last := h.LastOffset()
	out.FirstOffset, out.LastOffset, out.LeaderEpoch, out.Codec = &h.BaseOffset, &last, &h.LeaderEpoch, h.Codec().String()
	if !d.records {
		return
	}
	for r, err := range batch.Records(b, recordsBytesMax) {
		if err != nil {
			out.Problem = err.Error()
			return
		}
		out.Records = append(out.Records, *agent.TailRecord(p, &r))
	}
}

// batchFile shows one batch that was set aside.
func (d *dumper) batchFile(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if info.Size() > metadata.BatchBytesMax {
		return fmt.Errorf("%s has %d bytes; a batch has at most %d", file, info.Size(), metadata.BatchBytesMax)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	d.records = true
	f := frameJSON{Type: "batch", Bytes: len(b)}
	d.batch(&f, metadata.PartitionID{}, b)
	return d.showBatch(&f)
}
