package segstore

import (
	"fmt"

	bolt "go.etcd.io/bbolt"

	"cistern/gossip/boltfile"
)

// Meta keeps what is small and rare: identities of streams and partitions,
// leader epochs, facts that must be durable at once. Never records, and
// nothing that changes with every commit.
type Meta interface {
	// Put writes all of kvs or none; what it wrote is durable on return.
	Put(kvs ...KV) error
	// Each calls fn for every key of a bucket, in order.
	Each(bucket string, fn func(key string, value []byte) error) error
	Close() error
}

// KV is one fact; a nil Value removes it.
type KV struct {
	Bucket, Key string
	Value       []byte
}

// Buckets of the metadata file.
const (
	bucketStore   = "store"   // id, incarnation, clean stop
	bucketStreams = "streams" // name → stream record
	bucketEpochs  = "epochs"  // stream/partition/epoch → start offset
	bucketState   = "state"   // PutSync and clean stops
	bucketDamage  = "damage"  // what flash lost, with coordinates
)

// boltMeta is Meta in a bbolt file.
type boltMeta struct{ db *boltfile.File }

// openBolt opens or makes the metadata file.
func openBolt(path string) (Meta, error) {
	db, err := boltfile.Open(path, bucketStore, bucketStreams, bucketEpochs, bucketState, bucketDamage)
	if err != nil {
		return nil, err
	}
	return boltMeta{db}, nil
}

func (m boltMeta) Put(kvs ...KV) error {
	if len(kvs) == 0 {
		return nil
	}
	return m.db.Update(func(tx *bolt.Tx) error {
		for _, kv := range kvs {
			b := tx.Bucket([]byte(kv.Bucket))
			if b == nil {
				return fmt.Errorf("metadata has no bucket %q", kv.Bucket)
			}
			if err := putOrDelete(b, kv); err != nil {
				return fmt.Errorf("metadata %s/%s: %w", kv.Bucket, kv.Key, err)
			}
		}
		return nil
	})
}

func putOrDelete(b *bolt.Bucket, kv KV) error {
	if kv.Value == nil {
		return b.Delete([]byte(kv.Key))
	}
	return b.Put([]byte(kv.Key), kv.Value)
}

func (m boltMeta) Each(bucket string, fn func(string, []byte) error) error {
	return m.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		if b == nil {
			return fmt.Errorf("metadata has no bucket %q", bucket)
		}
		return b.ForEach(func(k, v []byte) error { return fn(string(k), append([]byte(nil), v...)) })
	})
}

func (m boltMeta) Close() error { return m.db.Close() }
