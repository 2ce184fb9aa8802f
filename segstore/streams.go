package segstore

import (
	"fmt"
	"slices"

	"github.com/vmihailenco/msgpack/v5"

	"cistern/gossip/metadata"
)

// streamRecord is a stream in the metadata file.
type streamRecord struct {
	Config metadata.StreamConfig
	Refs   []uint32 // by partition
}

// PutStream makes a stream or changes what is promised about it. Partitions
// can be added; taking some away, or moving a stream to another lane, would
// orphan what is stored, and is refused.
func (s *Store) PutStream(c metadata.StreamConfig) error {
	if err := c.Validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, known := s.streams[c.Name]
	switch {
	case known && old == c:
		return nil
	case known && c.Partitions < old.Partitions:
		return fmt.Errorf("stream %q: it has %d partitions, %d were asked for; partitions can only be added", c.Name, old.Partitions, c.Partitions)
	case known && c.Lane != old.Lane:
		return fmt.Errorf("stream %q: it lives in lane %q and can't move to %q; give the new lane a stream of another name", c.Name, old.Lane, c.Lane)
	case !known && s.countLike(c.Name) >= metadata.StreamsMax:
		return fmt.Errorf("stream %q: there are %d streams, more are not allowed", c.Name, metadata.StreamsMax)
	}
	rec := streamRecord{Config: c}
	next := s.nextRef
	for p := range c.Partitions {
		if g := s.logs[metadata.PartitionID{Stream: c.Name, Partition: p}]; g != nil {
			rec.Refs = append(rec.Refs, g.ref)
			continue
		}
		rec.Refs = append(rec.Refs, next)
		next++
	}
	if total := len(s.logs) + int(c.Partitions-old.Partitions); total > PartitionsMax {
		return fmt.Errorf("stream %q: all streams together would have %d partitions, at most %d are allowed", c.Name, total, PartitionsMax)
	}
	b, err := msgpack.Marshal(rec)
	if err != nil {
		return fmt.Errorf("stream %q: %w", c.Name, err)
	}
	if err := s.meta.Put(KV{bucketStreams, c.Name, b}); err != nil {
		return err
	}
	s.nextRef = next
	s.adopt(rec)
	return nil
}

// countLike counts the streams that are reserved, or not, as name is: one of
// each may go with every stream.
func (s *Store) countLike(name string) (n int) {
	for other := range s.streams {
		if metadata.IsReserved(other) == metadata.IsReserved(name) {
			n++
		}
	}
	return n
}

// adopt makes the logs of a stream that is in the metadata file.
func (s *Store) adopt(rec streamRecord) {
	s.streams[rec.Config.Name] = rec.Config
	for p, ref := range rec.Refs {
		id := metadata.PartitionID{Stream: rec.Config.Name, Partition: int32(p)}
		if s.logs[id] == nil {
			s.addLog(id, ref, uint8(slices.Index(metadata.Lanes, rec.Config.Lane)))
		}
	}
}

func (s *Store) addLog(id metadata.PartitionID, ref uint32, lane uint8) *Log {
	g := &Log{store: s, lane: s.lanes[lane], id: id, ref: ref, watchers: map[chan struct{}]struct{}{}, lastEpoch: -1, spent: -1}
	s.logs[id] = g
	s.refs[ref] = g
	s.nextRef = max(s.nextRef, ref+1)
	return g
}
