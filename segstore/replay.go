package segstore

import (
	"encoding/binary"
	"fmt"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/segment"
)

// replay applies the frames of the last segment.
type replay struct {
	lane    *lane
	at      int // of the segment among its lane's, oldest first
	found   found
	commits int
	lastSeq uint64
	age     int64
	end     int64 // position
	index   segment.Index

	snapshot   *snapshot // the last that was read, and the segment it began
	snapshotID uint64
}

func (r *replay) commit(c segment.Commit) error {
	r.commits++
	r.lastSeq, r.age = c.Seq, c.AgeMillis
	for _, f := range c.Frames {
		if err := r.frame(f); err != nil {
			return fmt.Errorf("commit %d, frame at %d: %w", c.Seq, f.Pos, err)
		}
	}
	return nil
}

func (r *replay) frame(f segment.Frame) error {
	s := r.lane.store
	switch f.Type {
	case segment.FrameSnapshot:
		snap, err := parseSnapshot(f.Payload)
		if err != nil {
			return err
		}
		r.snapshot, r.snapshotID = &snap, r.found.id
		return r.restore(snap)
	case segment.FrameState:
		e, err := parseStateFrame(f.Payload)
		if err != nil {
			return err
		}
		s.state.load(e)
	case segment.FrameBatch, segment.FrameTruncate, segment.FrameRestart:
		g := s.refs[f.Partition]
		if g == nil {
			return fmt.Errorf("%s of partition %d, which nobody knows: flash lost its name, a card that lies about its flushes does that; keep the folder for `cistern dump`, and start with an empty one on another card: on a site it fills from the others", f.Type, f.Partition)
		}
		end, err := indexFrame(r.index, f)
		if err != nil {
			return err
		}
		g.end = end
		switch f.Type {
		case segment.FrameTruncate:
			g.epochs.cut(end)
		case segment.FrameRestart:
			g.start, g.restarts, g.epochs = end, binary.BigEndian.Uint64(f.Payload[8:]), nil
		default:
			h, _ := batch.ParseHeader(f.Payload)
			g.epochs.witness(h.LeaderEpoch, h.BaseOffset)
		}
	default:
		return fmt.Errorf("%s is not known to this version: it was written by a newer one", f.Type)
	}
	return nil
}

// indexFrame notes a batch, truncation or restart in x and returns the log's end.
func indexFrame(x segment.Index, f segment.Frame) (end int64, err error) {
	switch f.Type {
	case segment.FrameTruncate:
		if len(f.Payload) != 8 {
			return 0, fmt.Errorf("truncation has %d bytes, 8 expected", len(f.Payload))
		}
		end = int64(binary.BigEndian.Uint64(f.Payload))
		x.Truncate(f.Partition, end)
		return end, nil
	case segment.FrameRestart:
		if len(f.Payload) != 16 {
			return 0, fmt.Errorf("restart has %d bytes, 16 expected", len(f.Payload))
		}
		end = int64(binary.BigEndian.Uint64(f.Payload))
		x.Restart(f.Partition, end)
		return end, nil
	}
	h, err := batch.ParseHeader(f.Payload)
	if err != nil {
		return 0, err
	}
	x.Append(f.Partition, h.BaseOffset, h.NextOffset(), f.Pos, segment.FrameHeaderLen+len(f.Payload))
	return h.NextOffset(), nil
}

// restore applies a snapshot.
func (r *replay) restore(snap snapshot) error {
	s := r.lane.store
	for _, e := range snap.State {
		s.state.load(e)
	}
	for _, p := range snap.Partitions {
		g := s.refs[p.Ref]
		id := metadata.PartitionID{Stream: p.Stream, Partition: p.Partition}
		if g == nil {
			// The metadata file lost it; the journal remembers.
			s.log.Warn("partition restored from the journal with default settings: the metadata file did not know it", "partition", id)
			if err := s.restore(id, p.Ref, r.lane.index); err != nil {
				return err
			}
			g = s.refs[p.Ref]
		}
		if g.id != id || g.lane != r.lane {
			return fmt.Errorf("partition %d is %s in the metadata file and %s in the journal", p.Ref, g.id, id)
		}
		g.start, g.end, g.restarts = p.Start, p.End, p.Restarts
	}
	return nil
}

// restore makes a stream or partition known again.
func (s *Store) restore(id metadata.PartitionID, ref uint32, lane uint8) error {
	c, ok := s.streams[id.Stream]
	if !ok {
		c = metadata.DefaultStreamConfig(id.Stream)
		c.Lane = metadata.Lanes[lane]
	}
	c.Partitions = max(c.Partitions, id.Partition+1)
	if err := c.Validate(); err != nil {
		return err
	}
	s.streams[id.Stream] = c
	s.addLog(id, ref, lane)
	return nil
}
