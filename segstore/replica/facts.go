package replica

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
)

// facts is what is kept of a copy beside its log. It rides along with commits:
// after a crash it may be old, never wrong. The high watermark then stands lower
// than it was, and producers are read again from the log.
type facts struct {
	HighWatermark int64
	producers     []byte // nil: never kept
}

const (
	factsVersion  = 1
	factsHeader   = 9 // bytes: version, high watermark
	factsInterval = time.Second
)

func factsKey(id metadata.PartitionID) string { return "replica/" + id.String() }

func loadFacts(s *segstore.State, id metadata.PartitionID) (facts, error) {
	b := s.Get(factsKey(id))
	if b == nil {
		return facts{}, nil
	}
	if len(b) < factsHeader || b[0] != factsVersion {
		return facts{}, fmt.Errorf("state %s: not understood: it was written by a newer version", factsKey(id))
	}
	return facts{HighWatermark: int64(binary.BigEndian.Uint64(b[1:])), producers: b[factsHeader:]}, nil
}

func (f facts) put(s *segstore.State, id metadata.PartitionID) { s.Put(factsKey(id), f.encode()) }

func (f facts) encode() []byte {
	b := binary.BigEndian.AppendUint64([]byte{factsVersion}, uint64(f.HighWatermark))
	return append(b, f.producers...)
}

// Confirmed returns the high watermark that was kept of a copy, by a gateway that
// does not run: what lies below was confirmed, what lies above may have been.
func Confirmed(s *segstore.Store, id metadata.PartitionID) (int64, error) {
	f, err := loadFacts(s.State(), id)
	return f.HighWatermark, err
}

// Unclean returns the partitions of which flash has lost what was confirmed:
// found damaged, or ending below a high watermark that was kept. A gateway that
// has any must say so when it registers.
func Unclean(s *segstore.Store) []metadata.PartitionID {
	lost := s.Unclean()
	for _, log := range s.Logs() {
		f, err := loadFacts(s.State(), log.Partition())
		if err == nil && f.HighWatermark > log.EndOffset() && !slices.Contains(lost, log.Partition()) {
			lost = append(lost, log.Partition())
		}
	}
	return lost
}
