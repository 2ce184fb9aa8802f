package drain

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
	"cistern/segstore/replica"
)

// identified says which record a record is: of which history of the log, and at
// which offset.
type identified struct {
	history int32
	offset  int64
}

func (i identified) value() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, uint32(i.history)), uint64(i.offset))
}

func identify(value []byte) identified {
	return identified{int32(binary.BigEndian.Uint32(value)), int64(binary.BigEndian.Uint64(value[4:]))}
}

// journal is a site's log of one partition, as its replicas agree on it.
type journal struct {
	mu      sync.Mutex
	batches []kept
	start   int64
	hw, end int64
	epoch   int32
	history int32
	views   []*view
}

// kept is a batch of a journal.
type kept struct {
	b           []byte
	first, next int64
	epoch       int32
	history     int32
	lost        bool // on flash
	elsewhere   bool // another copy has it
	away        int  // as often that copy is not in reach
}

// append adds a batch, not confirmed yet.
func (j *journal) append(t *testing.T, records int, timestamp int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := batch.NewBuilder(metadata.CodecNone)
	for i := range records {
		if _, err := b.Append(&batch.Record{Timestamp: timestamp, Value: identified{j.history, j.end + int64(i)}.value()}); err != nil {
			t.Fatal(err)
		}
	}
	one, err := b.AppendTo(nil, batch.NoProducer)
	if err != nil {
		t.Fatal(err)
	}
	batch.Stamp(one, j.end, j.epoch)
	next := j.end + int64(records)
	j.batches = append(j.batches, kept{b: one, first: j.end, next: next, epoch: j.epoch, history: j.history})
	j.end = next
}

// confirm moves the high watermark to what is there.
func (j *journal) confirm() {
	j.mu.Lock()
	j.hw = j.end
	j.mu.Unlock()
	j.tell()
}

func (j *journal) tell() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, v := range j.views {
		for _, w := range v.moved {
			select {
			case w <- struct{}{}:
			default:
			}
		}
	}
}

// cutBack is an unclean election: records from a batch boundary on are given up.
func (j *journal) cutBack(to int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.batches) > 0 && j.batches[len(j.batches)-1].next > to {
		last := len(j.batches) - 1
		j.end, j.batches = j.batches[last].first, j.batches[:last]
	}
	j.hw = min(j.hw, j.end)
	j.history++
	j.epoch++
}

// drop is retention: batches below an offset go, whether they were drained or not.
func (j *journal) drop(below int64) (gone []kept) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.batches) > 0 && j.batches[0].next <= min(below, j.hw) {
		gone = append(gone, j.batches[0])
		j.start, j.batches = j.batches[0].next, j.batches[1:]
	}
	return gone
}

// view is what one gateway sees of a journal: a successor learns the high
// watermark late, a deposed leader learns nothing any more.
type view struct {
	*journal
	moved []chan struct{} // of those who watch
	cap   int64           // guarded by journal.mu: the high watermark is not above; -1: no cap
	lie   bool            // mutant: the log is said to end at the high watermark
}

func (j *journal) view(cap int64) *view {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := &view{journal: j, cap: cap}
	j.views = append(j.views, v)
	return v
}

func (v *view) limit(cap int64) {
	v.mu.Lock()
	v.cap = cap
	v.mu.Unlock()
	v.tell()
}

func (v *view) known() int64 {
	if v.cap >= 0 {
		return min(v.hw, v.cap)
	}
	return v.hw
}

func (v *view) Partition() metadata.PartitionID { return shelfID }
func (v *view) Watch() (<-chan struct{}, func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := make(chan struct{}, 1)
	v.moved = append(v.moved, w)
	return w, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.moved = slices.DeleteFunc(v.moved, func(o chan struct{}) bool { return o == w })
	}
}
func (v *view) StartOffset() int64   { v.mu.Lock(); defer v.mu.Unlock(); return v.start }
func (v *view) HighWatermark() int64 { v.mu.Lock(); defer v.mu.Unlock(); return v.known() }
func (v *view) EndOffset() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.lie {
		return v.known()
	}
	return v.end
}

func (v *view) EndOffsetForEpoch(epoch int32) (int32, int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	found, end := int32(-1), int64(-1)
	for _, k := range v.batches {
		if k.epoch <= epoch {
			found, end = k.epoch, k.next
		}
	}
	return found, end
}

var errLostOnFlash = errors.New("lost on flash")

func (v *view) Read(offset int64, buf []byte, sizeMax int) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if offset < v.start {
		return buf, segstore.ErrOffsetOutOfRange
	}
	first := len(buf)
	for _, k := range v.batches {
		if k.next <= offset || k.next > v.known() {
			continue
		}
		if k.lost && len(buf) > first {
			break
		}
		if k.lost {
			return buf, &segstore.CorruptError{FirstOffset: k.first, LastOffset: k.next - 1, Cause: errLostOnFlash}
		}
		if len(buf) > first && len(buf)-first+len(k.b) > sizeMax {
			break
		}
		buf = append(buf, k.b...)
	}
	return buf, nil
}

// Mend implements Mender: another copy may have it, and be in reach some time.
func (v *view) Mend(_ metadata.PartitionID, first, _ int64) replica.Mending {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := slices.IndexFunc(v.batches, func(k kept) bool { return k.first == first })
	switch {
	case i < 0 || !v.batches[i].lost:
		return replica.Mended
	case !v.batches[i].elsewhere:
		return replica.Nowhere
	case v.batches[i].away > 0:
		v.batches[i].away--
		return replica.Underway
	}
	v.batches[i].lost = false
	return replica.Mended
}

func (v *view) WatchMends() (<-chan struct{}, func()) { return nil, func() {} }
