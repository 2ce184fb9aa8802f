package mqtt

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/ingest"
)

// store is an Appender and its Logs in memory. It commits when told, in the
// order it is told, or at once when auto is set.
type store struct {
	mu      sync.Mutex
	logs    map[metadata.PartitionID]*memoryLog
	waiting []waiting
	arrived chan struct{} // signalled by every Append
	auto    bool
	refuse  error // what Append returns
	fail    error // what Complete is told

	committing sync.Mutex // one commit at a time, as in a real journal
}

type waiting struct {
	partition metadata.PartitionID
	record    batch.Record
	done      ingest.Completion
	seq       uint64
}

func newStore() *store {
	return &store{logs: map[metadata.PartitionID]*memoryLog{}, arrived: make(chan struct{}, 1<<16)}
}

func (s *store) Append(_ context.Context, p metadata.PartitionID, r *batch.Record, c ingest.Completion, seq uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	s.waiting = append(s.waiting, waiting{p, copyRecord(r), c, seq})
	s.arrived <- struct{}{}
	if s.auto {
		go s.commit(-1)
	}
	return nil
}

func copyRecord(r *batch.Record) batch.Record {
	bytesOf := func(b []byte) []byte {
		if b == nil {
			return nil
		}
		return append([]byte{}, b...)
	}
	c := batch.Record{Timestamp: r.Timestamp, Key: bytesOf(r.Key), Value: bytesOf(r.Value)}
	for _, h := range r.Headers {
		c.Headers = append(c.Headers, batch.RecordHeader{Key: string(bytesOf([]byte(h.Key))), Value: bytesOf(h.Value)})
	}
	return c
}

// await returns when n more records have arrived.
func (s *store) await(n int) {
	for range n {
		<-s.arrived
	}
}

// commit commits the oldest n records, all when n is negative.
func (s *store) commit(n int) {
	s.committing.Lock()
	defer s.committing.Unlock()
	s.mu.Lock()
	if n < 0 || n > len(s.waiting) {
		n = len(s.waiting)
	}
	now := s.waiting[:n:n]
	s.waiting = s.waiting[n:]
	s.mu.Unlock()
	s.finish(now)
}

// commitShuffled commits everything in small commits of random records.
func (s *store) commitShuffled(rng *rand.Rand) {
	s.mu.Lock()
	all := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for len(all) > 0 {
		n := 1 + rng.IntN(len(all))
		s.finish(all[:n])
		all = all[n:]
	}
}

func (s *store) finish(now []waiting) {
	s.mu.Lock()
	fail := s.fail
	s.mu.Unlock()
	var flush []ingest.Completion
	for _, w := range now {
		var offset int64
		if fail == nil {
			offset = s.log(w.partition).append(w.record)
		}
		if w.done != nil && w.done.Complete(w.seq, offset, fail) {
			flush = append(flush, w.done)
		}
	}
	for _, c := range flush {
		c.Flush()
	}
}

func (s *store) log(p metadata.PartitionID) *memoryLog {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logs[p] == nil {
		s.logs[p] = &memoryLog{watchers: map[chan struct{}]bool{}}
	}
	return s.logs[p]
}

func (s *store) Logs(p metadata.PartitionID) (Log, error) { return s.log(p), nil }

// records returns what was committed to a stream of one partition.
func (s *store) records(stream string) []batch.Record {
	l := s.log(metadata.PartitionID{Stream: stream})
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]batch.Record(nil), l.records...)
}

// memoryLog is a partition; each record is a batch of its own.
type memoryLog struct {
	mu       sync.Mutex
	records  []batch.Record
	batches  [][]byte
	watchers map[chan struct{}]bool
	broken   error // what Read returns
}

func (l *memoryLog) append(r batch.Record) int64 {
	b := batch.NewBuilder(metadata.CodecNone)
	if _, err := b.Append(&r); err != nil {
		panic(err)
	}
	one, err := b.AppendTo(nil, batch.NoProducer)
	if err != nil {
		panic(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	offset := int64(len(l.records))
	batch.Stamp(one, offset, 0)
	l.records = append(l.records, r)
	l.batches = append(l.batches, one)
	for w := range l.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
	return offset
}

func (l *memoryLog) HighWatermark() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.records))
}

func (l *memoryLog) Read(offset int64, buf []byte, sizeMax int) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return buf, l.broken
	}
	if offset < 0 || offset > int64(len(l.batches)) {
		return buf, fmt.Errorf("offset %d is not there", offset)
	}
	for _, b := range l.batches[offset:] {
		if len(buf) > 0 && len(buf)+len(b) > sizeMax {
			break
		}
		buf = append(buf, b...)
	}
	return buf, nil
}

func (l *memoryLog) Watch() (<-chan struct{}, func()) {
	w := make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers[w] = true
	return w, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.watchers, w)
	}
}
