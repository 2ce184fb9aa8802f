package segstore

import (
	"fmt"

	"github.com/vmihailenco/msgpack/v5"
)

// snapshot is the first frame of every segment: all that a store must know of
// a lane besides the batches themselves. Opening therefore needs the last
// segment and the footers, whatever came before, and a lost metadata file
// costs configurations but no record.
type snapshot struct {
	_msgpack   struct{} `msgpack:",as_array"` //lint:ignore U1000 msgpack reads the tag
	Partitions []snapPartition
	State      []stateEntry
	Live       []snapSegment // of all lanes, with what was begun and not confirmed yet
}

type snapPartition struct {
	_msgpack  struct{} `msgpack:",as_array"` //lint:ignore U1000 msgpack reads the tag
	Ref       uint32
	Stream    string
	Partition int32
	Start     int64
	End       int64
	Restarts  uint64 // not there in what the first version wrote
}

type snapSegment struct {
	_msgpack struct{} `msgpack:",as_array"` //lint:ignore U1000 msgpack reads the tag
	ID       uint64
	Slot     uint32
	Begun    bool // its first commit was not confirmed when the snapshot was taken
}

func appendSnapshot(dst []byte, s snapshot) ([]byte, error) {
	b, err := msgpack.Marshal(s)
	if err != nil {
		return dst, fmt.Errorf("snapshot: %w", err)
	}
	return append(dst, b...), nil
}

func parseSnapshot(b []byte) (s snapshot, err error) {
	if err := msgpack.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("snapshot: %w", err)
	}
	return s, nil
}
