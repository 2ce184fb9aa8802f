package kafkasink

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cistern/bridge/drain"
	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// memLog is a partition's log of real batches in memory.
type memLog struct {
	id metadata.PartitionID

	mu       sync.Mutex
	batches  [][]byte
	start    int64
	end      int64
	corrupt  map[int64]int64 // first offset of what flash lost to its last
	watchers map[chan struct{}]bool
}

func newLog(stream string, partition int32) *memLog {
	return &memLog{id: metadata.PartitionID{Stream: stream, Partition: partition},
		corrupt: map[int64]int64{}, watchers: map[chan struct{}]bool{}}
}

func (l *memLog) Partition() metadata.PartitionID { return l.id }

func (l *memLog) StartOffset() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.start }

func (l *memLog) HighWatermark() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.end }

func (l *memLog) EndOffset() int64                             { return l.HighWatermark() }
func (l *memLog) EndOffsetForEpoch(epoch int32) (int32, int64) { return epoch, l.EndOffset() }

func (l *memLog) Watch() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers[ch] = true
	return ch, func() { l.mu.Lock(); defer l.mu.Unlock(); delete(l.watchers, ch) }
}

func (l *memLog) Read(offset int64, buf []byte, sizeMax int) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset < l.start || offset > l.end {
		return buf, segstore.ErrOffsetOutOfRange
	}
	taken := 0
	for _, b := range l.batches {
		h, _ := batch.ParseHeader(b)
		if h.NextOffset() <= offset {
			continue
		}
		if last, lost := l.corrupt[h.BaseOffset]; lost {
			if taken > 0 {
				return buf, nil
			}
			return buf, &segstore.CorruptError{Stream: l.id.Stream, Partition: l.id.Partition,
				FirstOffset: h.BaseOffset, LastOffset: last, Cause: errors.New("bit rot")}
		}
		if taken > 0 && taken+len(b) > sizeMax {
			break
		}
		buf = append(buf, b...)
		taken += len(b)
	}
	return buf, nil
}

// value is what the record at an offset holds: enough to tell it from all
// others and to compress somewhat.
func value(id metadata.PartitionID, offset int64) string {
	return fmt.Sprintf(`{"partition":%q,"offset":%d,"pad":"aaaaaaaaaaaaaaaaaaaaaaaa"}`, id, offset)
}

// append adds a batch of count records, and returns it as stored.
func (l *memLog) append(t testing.TB, count int, codec metadata.Codec) []byte {
	return l.appendAt(t, count, codec, time.Now().UnixMilli(), 0)
}

func (l *memLog) appendAt(t testing.TB, count int, codec metadata.Codec, ms int64, pad int) []byte {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	builder := batch.NewBuilder(codec)
	for i := range count {
		v := value(l.id, l.end+int64(i)) + strings.Repeat("x", pad)
		r := batch.Record{Timestamp: ms, Key: []byte(l.id.Stream), Value: []byte(v)}
		if _, err := builder.Append(&r); err != nil {
			t.Fatal(err)
		}
	}
	b, err := builder.AppendTo(nil, batch.Producer{ID: 7, Epoch: 1, Sequence: int32(l.end)})
	if err != nil {
		t.Fatal(err)
	}
	batch.Stamp(b, l.end, 3)
	l.batches = append(l.batches, b)
	l.end += int64(count)
	for ch := range l.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
	return b
}

// fill appends batches of count records each.
func (l *memLog) fill(t testing.TB, batches, count int) *memLog {
	for range batches {
		l.append(t, count, metadata.CodecZstd)
	}
	return l
}

// trim gives up everything below offset, as retention does.
func (l *memLog) trim(offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start = offset
	l.batches = slices.DeleteFunc(l.batches, func(b []byte) bool {
		h, _ := batch.ParseHeader(b)
		return h.BaseOffset < offset
	})
}

// memState is a drain.State that can crash.
type memState struct {
	mu      sync.Mutex
	durable map[string][]byte
	latest  map[string][]byte
	step    func(string) error // before and after each write; an error: it did not happen
	syncs   int
	puts    int
}

func newState() *memState {
	return &memState{durable: map[string][]byte{}, latest: map[string][]byte{}, step: func(string) error { return nil }}
}

func (s *memState) Get(key string) []byte { s.mu.Lock(); defer s.mu.Unlock(); return s.latest[key] }

func (s *memState) Put(key string, value []byte) {
	if s.step("before Put") != nil {
		return
	}
	s.mu.Lock()
	s.latest[key] = value
	s.puts++
	s.mu.Unlock()
	s.step("after Put")
}

func (s *memState) PutSync(key string, value []byte) error {
	if err := s.step("before PutSync"); err != nil {
		return err
	}
	s.mu.Lock()
	s.latest[key], s.durable[key] = value, value
	s.syncs++
	s.mu.Unlock()
	return s.step("after PutSync")
}

// survive returns what is left after a crash.
func (s *memState) survive(keepLazy bool) *memState {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := newState()
	n.durable = maps.Clone(s.durable)
	n.latest = maps.Clone(s.durable)
	if keepLazy {
		n.latest = maps.Clone(s.latest)
	}
	return n
}

// memQuarantine keeps poison by its coordinates.
type memQuarantine struct {
	mu   sync.Mutex
	kept map[string]drain.Poison
	err  error
}

func (q *memQuarantine) Add(p drain.Poison) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return q.err
	}
	if q.kept == nil {
		q.kept = map[string]drain.Poison{}
	}
	p.Batch = slices.Clone(p.Batch)
	q.kept[fmt.Sprintf("%s@%d-%d %s", p.Partition, p.FirstOffset, p.LastOffset, p.Reason)] = p
	return nil
}

func (q *memQuarantine) names() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Sorted(maps.Keys(q.kept))
}

var names atomic.Int64
