package replica

import (
	"fmt"
	"slices"

	"cistern/segstore/batch"
)

// memLog is a Log in memory, synced by hand.
type memLog struct {
	batches []batch.Header
	bytes   [][]byte
	start   int64 // no batch before
	synced  int64
	stale   int64 // a sync reported this end although the log was cut since, -1: none
}

func newMemLog() *memLog { return &memLog{stale: -1} }

func (l *memLog) StartOffset() int64 { return l.start }
func (l *memLog) EndOffset() int64   { return max(l.synced, l.stale) }

func (l *memLog) PlacedOffset() int64 {
	if n := len(l.batches); n > 0 {
		return l.batches[n-1].NextOffset()
	}
	return l.start
}

func (l *memLog) LastEpoch() int32 {
	if n := len(l.batches); n > 0 {
		return l.batches[n-1].LeaderEpoch
	}
	return -1
}

func (l *memLog) EndOffsetForEpoch(epoch int32) (int32, int64) {
	for i := len(l.batches) - 1; i >= 0; i-- {
		if h := l.batches[i]; h.LeaderEpoch <= epoch {
			return h.LeaderEpoch, h.NextOffset()
		}
	}
	return -1, -1
}

func (l *memLog) place(b []byte, epoch int32) {
	b = slices.Clone(b)
	batch.Stamp(b, l.PlacedOffset(), epoch)
	h, err := batch.ParseHeader(b)
	if err != nil {
		panic(err)
	}
	l.batches, l.bytes = append(l.batches, h), append(l.bytes, b)
}

func (l *memLog) sync() { l.synced = l.PlacedOffset() }

// cut removes what ends beyond to, synced or not.
func (l *memLog) cut(to int64) {
	for len(l.batches) > 0 && l.PlacedOffset() > to {
		l.batches, l.bytes = l.batches[:len(l.batches)-1], l.bytes[:len(l.bytes)-1]
	}
	l.synced = min(l.synced, to)
}

func (l *memLog) restart(at int64) { *l = memLog{start: at, synced: at, stale: -1} }

// expire drops what ends at to or below.
func (l *memLog) expire(to int64) {
	for len(l.batches) > 0 && l.batches[0].NextOffset() <= to {
		l.batches, l.bytes = l.batches[1:], l.bytes[1:]
	}
	l.start = to
}

func (l *memLog) read(from int64) (out []byte) {
	for i, h := range l.batches {
		if h.NextOffset() > from {
			out = append(out, l.bytes[i]...)
		}
	}
	return out
}

// String shows offsets and epochs: "0@1 1@1 2@3|" with the synced end marked.
func (l *memLog) String() (s string) {
	for _, h := range l.batches {
		s += fmt.Sprintf("%d@%d ", h.BaseOffset, h.LeaderEpoch)
		if h.NextOffset() == l.synced {
			s += "| "
		}
	}
	return s
}
