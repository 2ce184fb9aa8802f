package main

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"path/filepath"
	"sync"
	"sync/atomic"

	"cistern/segstore/vfs"
)

const (
	ringBytes     = 64 << 20
	ringHeader    = 16
	ringGroupMax  = 1 << 20
	ringQueueMax  = 1024
	ringFillChunk = 1 << 20
)

// ring is the baseline: what a durable journal costs when it does nothing else.
// One file whose blocks were all written before, and for each group of waiting
// appends one pwrite and one fdatasync. No index, no partitions, no recovery.
type ring struct {
	file   vfs.File
	queue  chan ringAppend
	done   chan struct{}
	groups atomic.Int64

	closing sync.Once
}

type ringAppend struct {
	records [][]byte
	result  chan<- error
}

func openRing(s Setting, fs vfs.FS) (Journal, error) {
	name := filepath.Join(s.Dir, "ring")
	if err := writeRing(name); err != nil {
		return nil, err
	}
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	r := &ring{file: f, queue: make(chan ringAppend, ringQueueMax), done: make(chan struct{})}
	go r.run()
	return r, nil
}

// writeRing writes every block once, at the speed of the file system below.
func writeRing(name string) error {
	f, err := vfs.OS.Create(name)
	if err != nil {
		return err
	}
	chunk := make([]byte, ringFillChunk)
	for at := int64(0); at < ringBytes; at += ringFillChunk {
		if _, err := f.WriteAt(chunk, at); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

func (r *ring) Append(_ context.Context, _ int, records [][]byte) error {
	result := make(chan error, 1)
	r.queue <- ringAppend{records, result}
	return <-result
}

func (r *ring) Groups() int64 { return r.groups.Load() }

func (r *ring) Close() error {
	r.closing.Do(func() { close(r.queue) })
	<-r.done
	return r.file.Close()
}

// run takes what is queued, writes it with one call, syncs, and answers.
func (r *ring) run() {
	defer close(r.done)
	var (
		group []byte
		heard []chan<- error
		at    int64
		seq   uint64
	)
	for first := range r.queue {
		group, heard = append(group[:0], make([]byte, ringHeader)...), heard[:0]
		for a, ok := first, true; ok; a, ok = r.more(len(group)) {
			for _, record := range a.records {
				group = binary.AppendUvarint(group, uint64(len(record)))
				group = append(group, record...)
			}
			heard = append(heard, a.result)
		}
		if at+int64(len(group)) > ringBytes {
			at = 0
		}
		seq++
		err := r.commit(group, seq, at)
		at += int64(len(group))
		for _, result := range heard {
			result <- err
		}
	}
}

// more takes the next append if there is one and room for it.
func (r *ring) more(size int) (ringAppend, bool) {
	if size >= ringGroupMax {
		return ringAppend{}, false
	}
	select {
	case a, ok := <-r.queue:
		return a, ok
	default:
		return ringAppend{}, false
	}
}

func (r *ring) commit(group []byte, seq uint64, at int64) error {
	binary.LittleEndian.PutUint64(group, seq)
	binary.LittleEndian.PutUint32(group[8:], uint32(len(group)))
	binary.LittleEndian.PutUint32(group[12:], crc32.Checksum(group[ringHeader:], castagnoli))
	_, err := r.file.WriteAt(group, at)
	r.groups.Add(1)
	return errors.Join(err, r.file.Sync())
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
