package shape

import (
	"errors"
	"io"
	"strconv"
	"sync"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// HeaderID is the key of the header that Options.Identified adds to each record,
// behind its own. Its value is "site/stream/partition/leader epoch/offset", the
// same whenever the record is sent: who sees it twice has a duplicate.
const HeaderID = "cistern.id"

// Limits of making batches anew.
const (
	WorkersMax       = 2                     // at once; others wait their turn
	sectionBytesMax  = batch.BuilderBytesMax // of one stored batch, decompressed; a larger one goes as it is
	identifiedMax    = batch.BuilderBytesMax // of a batch with ids, before compression
	compressedMax    = metadata.BatchBytesMax
	outBytesKept     = 1 << 20 // of a worker's buffer
	identifiedSecond = 3       // level of zstd when the batch's own codec leaves a batch with ids too large
)

// errVerbatim says that a piece is better, or only possible, as it is stored.
var errVerbatim = errors.New("goes as it is")

// worker is what it takes to make a batch anew.
type worker struct {
	reader  batch.RawReader
	raw     batch.Raw
	builder batch.Builder
	level   *batch.Level // nil: none was asked for
	extra   batch.RecordHeader
	prefix  int    // bytes of extra.Value before the offset
	out     []byte // the finished batch
	times   times  // what was done about the times of those it has
}

// tools hands out workers: at most WorkersMax at once, so that memory stays flat
// with any number of partitions. What is idle for long the garbage collector
// takes.
type tools struct {
	seats chan struct{}
	pool  sync.Pool
}

func (t *tools) init(r *Rebatch) {
	t.seats = make(chan struct{}, WorkersMax)
	t.pool.New = func() any {
		w := &worker{extra: batch.RecordHeader{Key: HeaderID}}
		if r != nil {
			w.level = batch.NewLevel(r.Level)
		}
		return w
	}
}

func (t *tools) take() *worker {
	t.seats <- struct{}{}
	return t.pool.Get().(*worker)
}

func (t *tools) giveBack(w *worker) {
	w.builder.Reset()
	w.reader.Forget(outBytesKept)
	w.raw, w.times = batch.Raw{}, times{}
	if cap(w.out) > outBytesKept {
		w.out = nil
	}
	t.pool.Put(w)
	<-t.seats
}

// rebuild makes one batch of up to n batches at the start of run, which span has
// seen.
func (s *Shaper) rebuild(run, scratch []byte, n int, o Options) (Piece, error) {
	w := s.tools.take()
	defer s.tools.giveBack(w)
	first, used, taken, err := s.gather(w, run, n, o)
	if err != nil {
		return Piece{}, err
	}
	if taken == 0 || taken == 1 && !o.Identified {
		if taken == 0 && o.Identified {
			s.count.unidentified.Add(1)
		}
		return Piece{}, errVerbatim
	}
	if err := s.finish(w, &first, o); err != nil {
		return Piece{}, err
	}
	batch.Stamp(w.out, first.BaseOffset, first.LeaderEpoch)
	p := Piece{Bytes: append(scratch[:0], w.out...), Used: used, Copied: true}
	if p.Header, err = batch.ParseHeader(p.Bytes); err != nil {
		return Piece{}, err
	}
	s.count.merged(taken, used, len(p.Bytes))
	s.settle(&w.times, &first)
	return p, nil
}

// gather moves the records of up to n batches into w's builder, batch by batch,
// as far as they are sound and fit. The first that is damaged is an error; a
// later one ends the piece before it.
func (s *Shaper) gather(w *worker, run []byte, n int, o Options) (first batch.Header, used, taken int, err error) {
	for ; taken < n; taken++ {
		sizeMax := identifiedMax
		if r := s.cfg.Rebatch; r != nil && (taken > 0 || !o.Identified) {
			sizeMax = r.Bytes
		}
		b, _, err := batch.Next(run[used:])
		if err != nil {
			return first, used, taken, nil // span has seen them all: never so
		}
		h, err := batch.Verify(b)
		switch {
		case err != nil && taken == 0:
			return first, 0, 0, &DamageError{FirstOffset: h.BaseOffset, LastOffset: h.LastOffset(), Err: err}
		case err != nil:
			return first, used, taken, nil
		}
		if h.CheckProduced() != nil || !s.add(w, b, &h, sizeMax, o) {
			return first, used, taken, nil
		}
		if taken == 0 {
			first = h
		}
		used += len(b)
	}
	return first, used, taken, nil
}

// add moves the records of b behind those that w has. If not all of them can be
// read, or fit, or only some of the times could be set right, it takes none.
func (s *Shaper) add(w *worker, b []byte, h *batch.Header, sizeMax int, o Options) bool {
	if err := w.reader.Reset(b, sectionBytesMax); err != nil {
		return false
	}
	extra := w.identify(h, o)
	mark := w.builder.Mark()
	var shift int64
	var fate fate
	for i := int64(0); ; i++ {
		switch err := w.reader.Next(&w.raw); {
		case err == io.EOF:
			w.times[fate]++
			return true
		case err != nil:
			w.builder.Rewind(mark)
			return false
		}
		if i == 0 {
			shift, fate = s.shiftOf(&w.raw, h)
			if w.builder.Count() > 0 && w.times[fate] == 0 {
				return false
			}
		}
		w.raw.Timestamp += shift
		if extra != nil {
			extra.Value = strconv.AppendInt(extra.Value[:w.prefix], h.BaseOffset+i, 10)
		}
		if !w.builder.AppendRaw(&w.raw, extra, sizeMax) {
			w.builder.Rewind(mark)
			return false
		}
	}
}

// identify begins the id of a batch's records; nil: they get none.
func (w *worker) identify(h *batch.Header, o Options) *batch.RecordHeader {
	if !o.Identified {
		return nil
	}
	id := append(w.extra.Value[:0], o.Partition...)
	id = append(id, '/')
	id = strconv.AppendInt(id, int64(h.LeaderEpoch), 10)
	id = append(id, '/')
	w.extra.Value, w.prefix = id, len(id)
	return &w.extra
}

// finish compresses what w has: with zstd when batches are merged, else as the
// stored batch was. What gets too large with ids goes without.
func (s *Shaper) finish(w *worker, first *batch.Header, o Options) (err error) {
	if w.level != nil {
		w.builder.Use(metadata.CodecZstd, w.level)
	} else {
		w.builder.Use(writable(first.Codec()), nil)
	}
	if w.out, err = w.builder.AppendTo(w.out[:0], batch.NoProducer); err != nil || len(w.out) <= compressedMax {
		return err
	}
	w.builder.Use(metadata.CodecZstd, batch.NewLevel(identifiedSecond))
	if w.out, err = w.builder.AppendTo(w.out[:0], batch.NoProducer); err != nil || len(w.out) <= compressedMax {
		return err
	}
	s.count.unidentified.Add(1)
	return errVerbatim
}

// writable is the codec itself, if a builder knows it.
func writable(c metadata.Codec) metadata.Codec {
	if c == metadata.CodecGzip {
		return metadata.CodecNone
	}
	return c
}
