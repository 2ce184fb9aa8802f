// Package sinktest is what tests of a drain.Sink need around it: a log, a state
// that can crash, a quarantine, a gateway that drains, and a network that fails.
package sinktest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// Log is a drain.Log in memory; all of it is confirmed.
type Log struct {
	ID metadata.PartitionID
	// Key makes the key of a record; nil: the stream's name.
	Key func(offset int64) []byte
	// Headers are those of each record.
	Headers []batch.RecordHeader
	// Bytes is how long a value is at least.
	Bytes int

	mu       sync.Mutex
	batches  [][]byte
	end      int64
	watchers map[chan struct{}]bool
}

// NewLog returns an empty log.
func NewLog(stream string, partition int32) *Log {
	return &Log{ID: metadata.PartitionID{Stream: stream, Partition: partition}, watchers: map[chan struct{}]bool{}}
}

// Value is what the record at an offset holds: enough to tell it from all others.
func (l *Log) Value(offset int64) []byte {
	b := fmt.Appendf(nil, "%s@%d ", l.ID, offset)
	for len(b) < l.Bytes {
		b = append(b, byte('a'+len(b)%26))
	}
	return b
}

// Append adds a batch of count records.
func (l *Log) Append(t testing.TB, count int) {
	t.Helper()
	l.AppendRecords(t, count, func(r *batch.Record) {})
}

// AppendRecords adds a batch of count records, each changed by edit.
func (l *Log) AppendRecords(t testing.TB, count int, edit func(*batch.Record)) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	builder := batch.NewBuilder(metadata.CodecZstd)
	for i := range int64(count) {
		r := batch.Record{Offset: l.end + i, Timestamp: time.Now().UnixMilli(), Key: []byte(l.ID.Stream), Value: l.Value(l.end + i), Headers: l.Headers}
		if l.Key != nil {
			r.Key = l.Key(l.end + i)
		}
		edit(&r)
		r.Offset = 0
		if _, err := builder.Append(&r); err != nil {
			t.Fatal(err)
		}
	}
	b, err := builder.AppendTo(nil, batch.NoProducer)
	if err != nil {
		t.Fatal(err)
	}
	batch.Stamp(b, l.end, 1)
	l.batches = append(l.batches, slices.Clone(b))
	l.end += int64(count)
	for ch := range l.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// Fill appends batches of count records each.
func (l *Log) Fill(t testing.TB, batches, count int) *Log {
	t.Helper()
	for range batches {
		l.Append(t, count)
	}
	return l
}

// Damage flips a bit in the batch that holds offset.
func (l *Log) Damage(offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.batches {
		if h, _ := batch.ParseHeader(b); h.BaseOffset <= offset && offset <= h.LastOffset() {
			b[len(b)-1] ^= 1
		}
	}
}

// Partition implements drain.Log, as do the others below.
func (l *Log) Partition() metadata.PartitionID { return l.ID }

// StartOffset is always 0.
func (l *Log) StartOffset() int64 { return 0 }

// HighWatermark is the end.
func (l *Log) HighWatermark() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.end }

// EndOffset is the end.
func (l *Log) EndOffset() int64 { return l.HighWatermark() }

// EndOffsetForEpoch says that all is of the epoch asked for.
func (l *Log) EndOffsetForEpoch(epoch int32) (int32, int64) { return epoch, l.EndOffset() }

// Watch tells of every Append.
func (l *Log) Watch() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers[ch] = true
	return ch, func() { l.mu.Lock(); defer l.mu.Unlock(); delete(l.watchers, ch) }
}

// Read returns whole batches.
func (l *Log) Read(offset int64, buf []byte, sizeMax int) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset > l.end {
		return buf, segstore.ErrOffsetOutOfRange
	}
	taken := 0
	for _, b := range l.batches {
		if h, _ := batch.ParseHeader(b); h.NextOffset() <= offset {
			continue
		}
		if taken > 0 && taken+len(b) > sizeMax {
			break
		}
		buf = append(buf, b...)
		taken += len(b)
	}
	return buf, nil
}
