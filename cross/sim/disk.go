package sim

import (
	"slices"

	"cistern/segstore/batch"
	"cistern/segstore/forward"
)

// card is a gateway's flash: what outlives its processes.
type card struct {
	storeID   string
	starts    uint64 // of processes on it: the store's incarnation
	log       journal
	kept      int64  // high watermark, as it was stored last
	producers []byte // likewise, nil: never
	covered   int64  // by producers
	parked    parkedLog
}

// stored is one batch on flash.
type stored struct {
	base, next int64
	epoch      int32
	uid        int64
	bytes      []byte
}

// journal is one partition's log: a replica.Log. What is placed gets on flash
// with the next sync, as a whole or not; the process may die in between.
type journal struct {
	start   int64
	batches []stored
	end     int64 // synced
	// before is the log as it is on flash while a commit is being written, and
	// steps how it became what it is: a power cut keeps some of them.
	before *image
	steps  []image
}

// image is the state of a log at one moment.
type image struct {
	start   int64
	batches []stored
}

func (j *journal) StartOffset() int64  { return j.start }
func (j *journal) EndOffset() int64    { return j.end }
func (j *journal) PlacedOffset() int64 { return endOf(j.start, j.batches) }
func (j *journal) image() image        { return image{j.start, j.batches[:len(j.batches):len(j.batches)]} }
func (j *journal) find(offset int64) int {
	i, _ := slices.BinarySearchFunc(j.batches, offset, func(b stored, o int64) int {
		switch {
		case b.next <= o:
			return -1
		case b.base > o:
			return 1
		}
		return 0
	})
	return i
}

func endOf(start int64, batches []stored) int64 {
	if n := len(batches); n > 0 {
		return batches[n-1].next
	}
	return start
}

func (j *journal) LastEpoch() int32 {
	if n := len(j.batches); n > 0 {
		return j.batches[n-1].epoch
	}
	return -1
}

func (j *journal) EndOffsetForEpoch(epoch int32) (int32, int64) {
	for i := len(j.batches) - 1; i >= 0; i-- {
		if b := &j.batches[i]; b.epoch <= epoch {
			return b.epoch, b.next
		}
	}
	return -1, -1
}

// begin opens a commit.
func (j *journal) begin() {
	was := j.image()
	j.before, j.steps = &was, j.steps[:0]
}

// place appends a batch, stamped.
func (j *journal) place(b []byte, epoch int32) stored {
	b = slices.Clone(b)
	batch.Stamp(b, j.PlacedOffset(), epoch)
	h, err := batch.ParseHeader(b)
	if err != nil {
		panic("sim: " + err.Error())
	}
	s := stored{h.BaseOffset, h.NextOffset(), epoch, h.BaseTimestamp, b}
	j.batches = append(j.batches, s) // what images hold is not written over: see cut
	j.steps = append(j.steps, j.image())
	return s
}

func (j *journal) cut(to int64) {
	n := len(j.batches)
	for n > 0 && j.batches[n-1].next > to {
		n--
	}
	j.batches = j.batches[:n:n]
	j.steps = append(j.steps, j.image())
}

func (j *journal) restart(at int64) {
	j.start, j.batches = at, nil
	j.steps = append(j.steps, j.image())
}

// synced closes a commit.
func (j *journal) synced() {
	j.before, j.end = nil, j.PlacedOffset()
}

// lose leaves what is on flash after the process died in a commit: any part
// of it. keep says that all of it had been written.
func (j *journal) lose(l *loop, keep bool) (lost bool) {
	if j.before == nil {
		return false
	}
	end := j.PlacedOffset()
	if !keep {
		is := *j.before
		if n := l.random.IntN(len(j.steps) + 1); n > 0 {
			is = j.steps[n-1]
		}
		j.start, j.batches = is.start, is.batches // clipped
	}
	j.before, j.end = nil, j.PlacedOffset()
	return end != j.end
}

// expire drops what ends at to or below.
func (j *journal) expire(to int64) {
	i := 0
	for i < len(j.batches) && j.batches[i].next <= to {
		i++
	}
	if i > 0 {
		j.start, j.batches = j.batches[i-1].next, j.batches[i:]
	}
}

// read returns whole batches from offset on.
func (j *journal) read(offset int64, most int) (out []byte) {
	for i := j.find(offset); i < len(j.batches) && most > 0; i, most = i+1, most-1 {
		out = append(out, j.batches[i].bytes...)
	}
	return out
}

// parkedLog is what an ingress keeps until a leader takes it.
type parkedLog struct {
	batches []stored
	end     int64
	pos     int64 // as it was stored last
	remap   forward.Remap
}

func (p *parkedLog) append(b []byte) (base int64) {
	b = slices.Clone(b)
	batch.Stamp(b, p.end, 0)
	h, err := batch.ParseHeader(b)
	if err != nil {
		panic("sim: " + err.Error())
	}
	p.batches = append(p.batches, stored{h.BaseOffset, h.NextOffset(), 0, h.BaseTimestamp, b})
	p.end = h.NextOffset()
	return h.BaseOffset
}

func (p *parkedLog) read(from int64, most int) (out []byte) {
	for i := range p.batches {
		if b := &p.batches[i]; b.next > from && most > 0 {
			out = append(out, b.bytes...)
			most--
		}
	}
	return out
}
