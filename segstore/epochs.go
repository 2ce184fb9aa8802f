package segstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"cistern/gossip/metadata"
)

// epochCache knows where each leader epoch of a partition begins: what Kafka
// keeps in its leader-epoch checkpoint (KIP-101).
type epochCache []epochStart

type epochStart struct {
	Epoch int32
	Start int64
}

// last returns the newest epoch, -1 when there is none.
func (c epochCache) last() int32 {
	if len(c) == 0 {
		return -1
	}
	return c[len(c)-1].Epoch
}

// assign notes that epoch begins at start; older and known ones are ignored.
func (c *epochCache) assign(epoch int32, start int64) {
	if epoch > c.last() {
		*c = append(*c, epochStart{epoch, start})
	}
}

// at returns the epoch of the batch at offset, -1 when none is known.
func (c epochCache) at(offset int64) int32 {
	i := sort.Search(len(c), func(i int) bool { return c[i].Start > offset })
	if i == 0 {
		return -1
	}
	return c[i-1].Epoch
}

// witness takes in a batch that was read from the journal: whatever was noted
// before, its epoch is the one at start. Batches behind it witness for themselves.
func (c *epochCache) witness(epoch int32, start int64) {
	if c.at(start) == epoch {
		return
	}
	c.cut(start)
	for len(*c) > 0 && c.last() > epoch {
		*c = (*c)[:len(*c)-1]
	}
	c.assign(epoch, start)
}

// cut forgets the epochs that begin at offset or above, and returns them.
func (c *epochCache) cut(offset int64) []epochStart {
	keep := sort.Search(len(*c), func(i int) bool { return (*c)[i].Start >= offset })
	gone := slices.Clone((*c)[keep:])
	*c = (*c)[:keep]
	return gone
}

// advance forgets the epochs that ended at or below the log start.
func (c *epochCache) advance(start int64) {
	for len(*c) > 1 && (*c)[1].Start <= start {
		*c = (*c)[1:]
	}
}

// endOffset answers OffsetForLeaderEpoch: the largest known epoch not above
// the one asked for, and where it ends (the next epoch's start, or end).
func (c epochCache) endOffset(epoch int32, end int64) (int32, int64) {
	i := sort.Search(len(c), func(i int) bool { return c[i].Epoch > epoch })
	if i == 0 {
		return -1, -1
	}
	if i < len(c) {
		end = c[i].Start
	}
	return c[i-1].Epoch, end
}

// epochKV is one line of a partition's epoch history.
func epochKV(p metadata.PartitionID, epoch int32, start int64) KV {
	return KV{bucketEpochs, epochKey(p, epoch), binary.BigEndian.AppendUint64(nil, uint64(start))}
}

func epochKey(p metadata.PartitionID, epoch int32) string { return fmt.Sprintf("%s/%010d", p, epoch) }

// parseEpochKey is the inverse of epochKey. Stream names have no slash.
func parseEpochKey(key string) (p metadata.PartitionID, epoch int32, err error) {
	stream, rest, _ := strings.Cut(key, "/")
	partition, number, _ := strings.Cut(rest, "/")
	n, err1 := strconv.ParseInt(partition, 10, 32)
	e, err2 := strconv.ParseInt(number, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return p, 0, fmt.Errorf("metadata epochs/%s: not a partition's epoch: %w", key, err)
	}
	return metadata.PartitionID{Stream: stream, Partition: int32(n)}, int32(e), nil
}

// loadEpochs reads the epoch history of every partition.
func (s *Store) loadEpochs() error {
	return s.meta.Each(bucketEpochs, func(key string, v []byte) error {
		p, epoch, err := parseEpochKey(key)
		if err != nil || len(v) != 8 {
			return errors.Join(err, fmt.Errorf("metadata epochs/%s: %d bytes, 8 expected", key, len(v)))
		}
		if g := s.logs[p]; g != nil {
			g.epochs.assign(epoch, int64(binary.BigEndian.Uint64(v)))
		}
		return nil
	})
}

// epochLines returns what removes every line of a partition, also of epochs that
// retention has forgotten.
func (s *Store) epochLines(id metadata.PartitionID) (gone []KV, err error) {
	err = s.meta.Each(bucketEpochs, func(key string, _ []byte) error {
		if p, _, err := parseEpochKey(key); err == nil && p == id {
			gone = append(gone, KV{Bucket: bucketEpochs, Key: key})
		}
		return nil
	})
	return gone, err
}

// settleEpochs returns what brings the metadata file to what the logs are found
// to hold: lines of epochs that no record is left of go; lines that a failed
// commit took along and a crash brought back are written.
func (s *Store) settleEpochs() ([]KV, error) {
	want := map[string]KV{}
	for _, g := range s.logs {
		for _, e := range g.epochs {
			kv := epochKV(g.id, e.Epoch, e.Start)
			want[kv.Key] = kv
		}
	}
	var changes []KV
	err := s.meta.Each(bucketEpochs, func(key string, v []byte) error {
		if kv, ok := want[key]; !ok {
			changes = append(changes, KV{Bucket: bucketEpochs, Key: key})
		} else if bytes.Equal(kv.Value, v) {
			delete(want, key)
		}
		return nil
	})
	return slices.AppendSeq(changes, maps.Values(want)), err
}
