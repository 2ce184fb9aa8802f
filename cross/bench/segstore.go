package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
	"cistern/segstore/ingest"
	"cistern/segstore/vfs"
)

const (
	storeBytes    = 48 << 20               // all segments; the ring has 64 MiB
	benchStream   = metadata.DefaultStream // what the agent calls it, too
	prefillRecord = 256 << 10
)

// journal is ours, the way the MQTT server drives it: single records into an
// Accumulator, which builds and compresses a batch per partition and commit.
type journal struct {
	store      *segstore.Store
	ingest     *ingest.Accumulator
	producers  []*producer
	partitions int

	stop    context.CancelFunc
	keeping sync.WaitGroup
}

// openSegstore opens a store in its steady state: every segment it may have
// was written before, and a new one is the oldest, recycled.
func openSegstore(s Setting, fs vfs.FS) (Journal, error) {
	old, err := newJournal(s, vfs.OS, storeBytes)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(old.fill(2*storeBytes), old.Close()); err != nil {
		return nil, fmt.Errorf("filling the store: %w", err)
	}
	return newJournal(s, fs, storeBytes)
}

func newJournal(s Setting, fs vfs.FS, bytesMax int64) (*journal, error) {
	store, err := segstore.Open(segstore.Config{Dir: filepath.Join(s.Dir, "store"), MaxBytes: bytesMax, FS: fs})
	if err != nil {
		return nil, err
	}
	c := metadata.DefaultStreamConfig(benchStream)
	c.Partitions = int32(s.Partitions)
	c.CommitWindow = s.Window
	c.DropUndrained = true
	c.WhenFull = metadata.DropOldest
	if err := store.PutStream(c); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	j := &journal{store: store, ingest: ingest.New(ingest.Config{Store: store}), partitions: s.Partitions, stop: stop}
	for range max(1, s.Producers) {
		j.producers = append(j.producers, &producer{done: make(chan error, 1)})
	}
	j.keeping.Go(func() { _ = store.Run(ctx) })
	return j, nil
}

func (j *journal) Append(ctx context.Context, p int, records [][]byte) error {
	who := j.producers[p]
	who.waiting.Store(int32(len(records)))
	partition := metadata.PartitionID{Stream: benchStream, Partition: int32(p % j.partitions)}
	r := batch.Record{Timestamp: time.Now().UnixMilli()}
	for i := range records {
		r.Value = records[i]
		if err := j.ingest.Append(ctx, partition, &r, who, uint64(i)); err != nil {
			return err
		}
	}
	return <-who.done
}

// fill appends incompressible records until n bytes went in.
func (j *journal) fill(n int) error {
	rng := rand.NewChaCha8([32]byte{1})
	record := make([]byte, prefillRecord)
	for ; n > 0; n -= len(record) {
		if _, err := rng.Read(record); err != nil {
			return err
		}
		if err := j.Append(context.Background(), 0, [][]byte{record}); err != nil {
			return err
		}
	}
	return nil
}

func (j *journal) Groups() int64 { return j.store.Stats().Commits }

func (j *journal) Close() error {
	j.ingest.Close()
	j.stop()
	j.keeping.Wait()
	return j.store.Close()
}

// producer waits for the last record of its batch, or the first error.
type producer struct {
	waiting atomic.Int32
	failed  error
	done    chan error
}

func (p *producer) Complete(_ uint64, _ int64, err error) bool {
	if err != nil {
		p.failed = err
	}
	if p.waiting.Add(-1) == 0 {
		p.done <- p.failed
	}
	return false
}

func (p *producer) Flush() {}
