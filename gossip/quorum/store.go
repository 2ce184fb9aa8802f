package quorum

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"

	"cistern/gossip/boltfile"
)

// FileName is the file in Config.Dir that holds everything the quorum keeps.
const FileName = "raft.db"

var (
	bucketLog       = []byte("log")       // index → entry
	bucketStable    = []byte("stable")    // term and vote
	bucketSnapshots = []byte("snapshots") // term, index → snapshot
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged is what flash did to the file.
var errDamaged = boltfile.ErrDamaged

// store is raft's log, stable and snapshot store in one bbolt file: terms and
// votes are synced there and wait for nothing bigger than a snapshot of the
// metadata. bbolt keeps no checksum of data, so every value has its own.
type store struct {
	db      *boltfile.File
	failure atomic.Pointer[string] // of the last write, nil when it went well
	closing chan struct{}
	once    sync.Once
}

// termRetry is the pause between attempts to keep the term.
const termRetry = time.Second

// openStore opens or makes the file in dir, and reads all of it once: raft
// ends the process when an entry is missing later.
func openStore(dir string) (*store, error) {
	path := filepath.Join(dir, FileName)
	db, err := boltfile.Open(path, string(bucketLog), string(bucketStable), string(bucketSnapshots))
	s := &store{db: db, closing: make(chan struct{})}
	if err == nil {
		if err = s.verify(); err != nil {
			err = fmt.Errorf("open %s: %w", path, errors.Join(err, s.close()))
		}
	}
	switch {
	case errors.Is(err, errDamaged):
		return nil, fmt.Errorf("%w; a gateway without this file joins its site as a new one", err)
	case err != nil:
		return nil, err
	}
	return s, nil
}

func (s *store) view(fn func(tx *bolt.Tx) error) error {
	return s.db.View(fn)
}

func (s *store) update(fn func(tx *bolt.Tx) error) error {
	err := s.db.Update(fn)
	if err != nil {
		why := err.Error()
		s.failure.Store(&why)
	} else if s.failure.Load() != nil {
		s.failure.Store(nil)
	}
	return err
}

// giveUp ends SetUint64's attempts.
func (s *store) giveUp() { s.once.Do(func() { close(s.closing) }) }

func (s *store) close() error {
	s.giveUp()
	return s.db.Close()
}

// FirstIndex implements raft.LogStore.
func (s *store) FirstIndex() (uint64, error) { return s.edge((*bolt.Cursor).First) }

// LastIndex implements raft.LogStore.
func (s *store) LastIndex() (uint64, error) { return s.edge((*bolt.Cursor).Last) }

func (s *store) edge(move func(*bolt.Cursor) (k, v []byte)) (index uint64, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		if k, _ := move(tx.Bucket(bucketLog).Cursor()); len(k) == 8 {
			index = binary.BigEndian.Uint64(k)
		}
		return nil
	})
	return index, err
}

// GetLog implements raft.LogStore.
func (s *store) GetLog(index uint64, l *raft.Log) error {
	return s.view(func(tx *bolt.Tx) error {
		v := tx.Bucket(bucketLog).Get(logKey(index))
		if v == nil {
			return raft.ErrLogNotFound
		}
		return decodeEntry(index, v, l)
	})
}

// IsMonotonic implements raft.MonotonicLogStore: the log has no gaps.
func (s *store) IsMonotonic() bool { return true }

// StoreLog implements raft.LogStore.
func (s *store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (s *store) StoreLogs(logs []*raft.Log) error {
	return s.update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketLog)
		for _, l := range logs {
			if err := b.Put(logKey(l.Index), encodeEntry(l)); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteRange implements raft.LogStore.
func (s *store) DeleteRange(first, last uint64) error {
	return s.update(func(tx *bolt.Tx) error {
		b, end := tx.Bucket(bucketLog), logKey(last)
		var keys [][]byte
		c := b.Cursor()
		for k, _ := c.Seek(logKey(first)); k != nil && bytes.Compare(k, end) <= 0; k, _ = c.Next() {
			keys = append(keys, bytes.Clone(k))
		}
		return deleteAll(b, keys)
	})
}

// deleteAll is apart from finding the keys: a cursor may skip one after a
// deletion.
func deleteAll(b *bolt.Bucket, keys [][]byte) error {
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// Set implements raft.StableStore.
func (s *store) Set(key, value []byte) error {
	return s.update(func(tx *bolt.Tx) error { return tx.Bucket(bucketStable).Put(key, seal(key, value)) })
}

// Get implements raft.StableStore: nil when there is nothing.
func (s *store) Get(key []byte) (value []byte, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		v := tx.Bucket(bucketStable).Get(key)
		if v == nil {
			return nil
		}
		body, err := unseal(key, v)
		value = bytes.Clone(body)
		return err
	})
	return value, err
}

// SetUint64 implements raft.StableStore. Raft ends the process when the term
// can't be kept. A gateway with a full or dead card has more to do than to vote,
// so raft waits here instead, and is mute meanwhile: the others go on.
func (s *store) SetUint64(key []byte, v uint64) error {
	for {
		if err := s.Set(key, logKey(v)); err == nil || !bytes.Equal(key, keyTerm) {
			return err
		}
		select {
		case <-time.After(termRetry):
		case <-s.closing:
			return nil // raft stops and is heard by nobody
		}
	}
}

var keyTerm = []byte("CurrentTerm") // raft's

// GetUint64 implements raft.StableStore: 0 when there is nothing.
func (s *store) GetUint64(key []byte) (uint64, error) {
	v, err := s.Get(key)
	if err != nil || v == nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("%s has %d bytes: %w", key, len(v), errDamaged)
	}
	return binary.BigEndian.Uint64(v), nil
}

func logKey(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }
