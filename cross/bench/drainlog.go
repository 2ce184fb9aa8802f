package main

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

const (
	repeatedBytes = 8 << 20 // of different batches; what is longer repeats them
	repeatedMax   = 50_000
	old           = 24 * time.Hour // how long ago the backlog's records were taken
)

// repeating is a partition's log that repeats some batches as often as it takes.
// They lie outside the heap, so that the garbage collector has as little to do
// with the log as it has with one on flash, and reading costs a copy.
type repeating struct {
	id      metadata.PartitionID
	mem     []byte
	batches [][]byte // in mem
	each    int64    // records in each
	payload int64    // bytes of all their values

	mu        sync.Mutex
	repeatEnd int64    // offsets below repeat batches
	fresh     [][]byte // one record each, from repeatEnd on
	moved     chan struct{}
}

// newRepeating makes a log of at least size bytes in batches of records readings
// each.
func newRepeating(records int, codec metadata.Codec, size int64) (*repeating, error) {
	l := &repeating{id: metadata.PartitionID{Stream: benchStream}, each: int64(records), moved: make(chan struct{}, 1)}
	var err error
	if l.mem, err = unix.Mmap(-1, 0, repeatedBytes+metadata.BatchBytesMax, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON); err != nil {
		return nil, fmt.Errorf("memory for the log: %w", err)
	}
	rng, total := rand.New(rand.NewPCG(1, 2)), int64(0)
	for used := 0; used < repeatedBytes && len(l.batches) < repeatedMax; {
		b, payload, err := readings(rng, records, codec)
		if err != nil {
			return nil, err
		}
		l.payload += payload
		l.batches = append(l.batches, l.mem[used:used+copy(l.mem[used:], b)])
		used, total = used+len(b), total+int64(len(b))
	}
	rounds := max(1, size*int64(len(l.batches))/total)
	l.repeatEnd = rounds * l.each
	return l, nil
}

// readings returns a batch of what sensors say, JSON of about 200 bytes, and how
// many bytes that is before it is packed.
func readings(rng *rand.Rand, count int, codec metadata.Codec) (b []byte, payload int64, err error) {
	builder := batch.NewBuilder(codec)
	at := time.Now().Add(-old).UnixMilli()
	for i := range count {
		r := batch.Record{Timestamp: at + rng.Int64N(1000), Key: fmt.Appendf(nil, "plant/line%d/sensor%d", rng.IntN(5), rng.IntN(40)), Value: reading(rng, i)}
		if full, err := builder.Append(&r); err != nil || full {
			return nil, 0, fmt.Errorf("record %d of %d: full %v: %w", i, count, full, err)
		}
		payload += int64(len(r.Value))
	}
	b, err = builder.AppendTo(nil, batch.NoProducer)
	return b, payload, err
}

func reading(rng *rand.Rand, i int) []byte {
	return fmt.Appendf(nil, `{"serial":"%016x","temperature":%.3f,"pressure":%.2f,"rpm":%d,"vibration":[%.4f,%.4f,%.4f],"state":"running","seq":%d,"uptime_seconds":%d}`,
		rng.Uint64(), 20+rng.Float64()*60, 900+rng.Float64()*200, rng.IntN(3000), rng.Float64(), rng.Float64(), rng.Float64(), i, rng.IntN(1e7))
}

func (l *repeating) Partition() metadata.PartitionID { return l.id }

func (l *repeating) StartOffset() int64 { return 0 }

func (l *repeating) HighWatermark() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.repeatEnd + int64(len(l.fresh))
}

func (l *repeating) EndOffset() int64 { return l.HighWatermark() }

func (l *repeating) EndOffsetForEpoch(epoch int32) (int32, int64) { return epoch, l.EndOffset() }

func (l *repeating) Watch() (<-chan struct{}, func()) { return l.moved, func() {} }

// Read stamps what it copies: a log on flash has its offsets there.
func (l *repeating) Read(offset int64, buf []byte, sizeMax int) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset > l.repeatEnd+int64(len(l.fresh)) {
		return buf, segstore.ErrOffsetOutOfRange
	}
	begin := len(buf)
	for offset < l.repeatEnd+int64(len(l.fresh)) {
		var b []byte
		first, next := offset, offset+1
		if offset < l.repeatEnd {
			n := offset / l.each
			b, first, next = l.batches[n%int64(len(l.batches))], n*l.each, (n+1)*l.each
		} else {
			b = l.fresh[offset-l.repeatEnd]
		}
		if at := len(buf); at > begin && at-begin+len(b) > sizeMax {
			break
		}
		at := len(buf)
		buf = append(buf, b...)
		batch.Stamp(buf[at:], first, 0)
		offset = next
	}
	return buf, nil
}

// append takes a record that says when.
func (l *repeating) append(now time.Time) error {
	builder := batch.NewBuilder(metadata.CodecZstd)
	r := batch.Record{Timestamp: now.UnixMilli(), Key: []byte("plant/alarm"), Value: []byte(`{"alarm":"overheated","celsius":97.3}`)}
	if _, err := builder.Append(&r); err != nil {
		return err
	}
	b, err := builder.AppendTo(nil, batch.NoProducer)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.fresh = append(l.fresh, b)
	l.mu.Unlock()
	select {
	case l.moved <- struct{}{}:
	default:
	}
	return nil
}
