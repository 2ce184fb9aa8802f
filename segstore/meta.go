package segstore

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
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
type boltMeta struct{ db *bolt.DB }

// openBolt opens or makes the metadata file. A new one is made under a
// temporary name: bbolt can be left half initialised by a power cut.
func openBolt(path string) (Meta, error) {
	if _, err := os.Stat(path); os.IsNotExist(err) {
		if err := makeBolt(path); err != nil {
			return nil, err
		}
	}
	db, err := bolt.Open(path, 0o600, boltOptions())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return boltMeta{db}, nil
}

func makeBolt(path string) error {
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !os.IsNotExist(err) {
		return err
	}
	db, err := bolt.Open(tmp, 0o600, boltOptions())
	if err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, b := range []string{bucketStore, bucketStreams, bucketEpochs, bucketState, bucketDamage} {
			if _, err := tx.CreateBucketIfNotExists([]byte(b)); err != nil {
				return err
			}
		}
		return nil
	})
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func boltOptions() *bolt.Options {
	return &bolt.Options{Timeout: 2 * time.Second, FreelistType: bolt.FreelistMapType, InitialMmapSize: 1 << 20}
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
