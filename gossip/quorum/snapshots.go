package quorum

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/hashicorp/raft"
	"github.com/vmihailenco/msgpack/v5"
	bolt "go.etcd.io/bbolt"
)

// snapshots is raft.SnapshotStore within the store's file: one transaction
// each, so that there is never half of one, and no files to clean up.
type snapshots struct{ *store }

// snapshotRecord is a snapshot as it is kept, under its term and index.
type snapshotRecord struct {
	Servers    []Server
	ConfigAt   uint64 // log index of Servers
	Data       []byte
	Index      uint64
	Term       uint64
	FormatRaft int // raft.SnapshotVersion
}

// Create implements raft.SnapshotStore.
func (s snapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, configAt uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &sink{store: s.store, record: snapshotRecord{Servers: serversOf(c), ConfigAt: configAt, Index: index, Term: term, FormatRaft: int(version)}}, nil
}

// List implements raft.SnapshotStore: newest first.
func (s snapshots) List() (list []*raft.SnapshotMeta, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketSnapshots).Cursor()
		for k, v := c.Last(); k != nil; k, v = c.Prev() {
			r, err := decodeSnapshotRecord(k, v)
			if err != nil {
				return err
			}
			list = append(list, r.meta(k))
		}
		return nil
	})
	return list, err
}

// Open implements raft.SnapshotStore.
func (s snapshots) Open(id string) (meta *raft.SnapshotMeta, r io.ReadCloser, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		var key []byte
		if _, err := fmt.Sscanf(id, "%x", &key); err != nil {
			return fmt.Errorf("snapshot %q: %w", id, err)
		}
		v := tx.Bucket(bucketSnapshots).Get(key)
		if v == nil {
			return fmt.Errorf("snapshot %q is not there", id)
		}
		record, err := decodeSnapshotRecord(key, v)
		if err != nil {
			return err
		}
		meta, r = record.meta(key), io.NopCloser(bytes.NewReader(record.Data))
		return nil
	})
	return meta, r, err
}

func (r *snapshotRecord) meta(key []byte) *raft.SnapshotMeta {
	return &raft.SnapshotMeta{ID: fmt.Sprintf("%x", key), Version: raft.SnapshotVersion(r.FormatRaft), Index: r.Index, Term: r.Term,
		Configuration: configurationOf(r.Servers), ConfigurationIndex: r.ConfigAt, Size: int64(len(r.Data))}
}

func decodeSnapshotRecord(key, v []byte) (*snapshotRecord, error) {
	b, err := unseal(key, v)
	if err != nil {
		return nil, fmt.Errorf("snapshot %x: %w", key, err)
	}
	r := new(snapshotRecord)
	if err := msgpack.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("snapshot %x: %w: %w", key, err, errDamaged)
	}
	return r, nil
}

// verifySnapshots returns the index of the newest snapshot, 0 without one.
func verifySnapshots(tx *bolt.Tx) (newest uint64, err error) {
	err = tx.Bucket(bucketSnapshots).ForEach(func(k, v []byte) error {
		r, err := decodeSnapshotRecord(k, v)
		if err == nil {
			newest = max(newest, r.Index)
		}
		return err
	})
	return newest, err
}

// sink collects a snapshot in memory until it is whole.
type sink struct {
	store  *store
	record snapshotRecord
	done   bool
}

func (s *sink) key() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, s.record.Term), s.record.Index)
}

// ID implements raft.SnapshotSink.
func (s *sink) ID() string { return fmt.Sprintf("%x", s.key()) }

// Write implements io.Writer.
func (s *sink) Write(b []byte) (int, error) {
	if len(s.record.Data)+len(b) > snapshotBytesMax {
		return 0, fmt.Errorf("snapshot at %d has more than %d bytes", s.record.Index, snapshotBytesMax)
	}
	s.record.Data = append(s.record.Data, b...)
	return len(b), nil
}

// Cancel implements raft.SnapshotSink.
func (s *sink) Cancel() error {
	s.done = true
	return nil
}

// Close makes the snapshot durable and drops the oldest.
func (s *sink) Close() error {
	if s.done {
		return nil
	}
	s.done = true
	b, err := msgpack.Marshal(&s.record)
	if err != nil {
		return err
	}
	return s.store.update(func(tx *bolt.Tx) error {
		bucket, key := tx.Bucket(bucketSnapshots), s.key()
		if err := bucket.Put(key, seal(key, b)); err != nil {
			return err
		}
		var old [][]byte
		c, kept := bucket.Cursor(), 0
		for k, _ := c.Last(); k != nil; k, _ = c.Prev() {
			if kept++; kept > snapshotsRetain {
				old = append(old, bytes.Clone(k))
			}
		}
		return deleteAll(bucket, old)
	})
}

func serversOf(c raft.Configuration) (list []Server) {
	for _, s := range c.Servers {
		_, addr := splitPeer(string(s.Address))
		list = append(list, Server{Name: string(s.ID), Address: addr, Voter: s.Suffrage == raft.Voter})
	}
	return list
}

func configurationOf(servers []Server) (c raft.Configuration) {
	for _, s := range servers {
		suffrage := raft.Nonvoter
		if s.Voter {
			suffrage = raft.Voter
		}
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(s.Name), Address: raft.ServerAddress(joinPeer(s.Name, s.Address)), Suffrage: suffrage})
	}
	return c
}
