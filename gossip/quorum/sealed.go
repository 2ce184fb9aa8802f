package quorum

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"
)

// seal puts a checksum over key and value before the value.
func seal(key, value []byte) []byte {
	b := make([]byte, 4, 4+len(value))
	b = append(b, value...)
	binary.BigEndian.PutUint32(b, sum(key, value))
	return b
}

// unseal returns the value within b, which is bbolt's memory.
func unseal(key, b []byte) ([]byte, error) {
	if len(b) < 4 || binary.BigEndian.Uint32(b) != sum(key, b[4:]) {
		return nil, fmt.Errorf("key %x: checksum: %w", key, errDamaged)
	}
	return b[4:], nil
}

func sum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// An entry's value: type, term, time of the leader (Unix ns), length of the
// extensions, extensions, data.
const entryHeader = 1 + 8 + 8 + 4

func encodeEntry(l *raft.Log) []byte {
	b := make([]byte, 0, entryHeader+len(l.Extensions)+len(l.Data))
	b = append(b, byte(l.Type))
	b = binary.BigEndian.AppendUint64(b, l.Term)
	b = binary.BigEndian.AppendUint64(b, uint64(l.AppendedAt.UnixNano()))
	b = binary.BigEndian.AppendUint32(b, uint32(len(l.Extensions)))
	b = append(append(b, l.Extensions...), l.Data...)
	return seal(logKey(l.Index), b)
}

func decodeEntry(index uint64, v []byte, l *raft.Log) error {
	b, err := unseal(logKey(index), v)
	if err != nil {
		return fmt.Errorf("log entry %d: %w", index, err)
	}
	if len(b) < entryHeader || int64(binary.BigEndian.Uint32(b[17:])) > int64(len(b)-entryHeader) {
		return fmt.Errorf("log entry %d: %d bytes: %w", index, len(b), errDamaged)
	}
	rest := append([]byte(nil), b[entryHeader:]...)
	extensions := int(binary.BigEndian.Uint32(b[17:]))
	*l = raft.Log{Index: index, Type: raft.LogType(b[0]), Term: binary.BigEndian.Uint64(b[1:]),
		AppendedAt: time.Unix(0, int64(binary.BigEndian.Uint64(b[9:]))), Data: rest[extensions:]}
	if extensions > 0 {
		l.Extensions = rest[:extensions:extensions]
	}
	return nil
}

// verify reads the whole file.
func (s *store) verify() error {
	return s.view(func(tx *bolt.Tx) error {
		snapshot, err := verifySnapshots(tx)
		if err != nil {
			return err
		}
		if err := verifyLog(tx, snapshot); err != nil {
			return err
		}
		return tx.Bucket(bucketStable).ForEach(func(k, v []byte) error {
			_, err := unseal(k, v)
			return err
		})
	})
}

// verifyLog checks that the log has no gap, and none between it and the newest
// snapshot.
func verifyLog(tx *bolt.Tx, snapshot uint64) error {
	var next uint64
	return tx.Bucket(bucketLog).ForEach(func(k, v []byte) error {
		if len(k) != 8 {
			return fmt.Errorf("log key %x: %w", k, errDamaged)
		}
		index := binary.BigEndian.Uint64(k)
		if next == 0 && index > snapshot+1 || next != 0 && index != next {
			return fmt.Errorf("log entry %d follows %d (snapshot: %d): %w", index, max(next, 1)-1, snapshot, errDamaged)
		}
		next = index + 1
		var l raft.Log
		return decodeEntry(index, v, &l)
	})
}
