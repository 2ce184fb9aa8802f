package agent

import (
	"context"
	"errors"
	"time"

	"cistern/agent/status"
	"cistern/bridge/mqtt/packet"
	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

const (
	tailReadBytes = 64 << 10
	tailBatchMax  = 16 * metadata.BatchBytesMax // decompressed size of one batch
)

// tail is one reader of everything that is committed.
type tail struct {
	filter string
	emit   func(*status.TailRecord) error
	left   int64 // records to emit; negative: no end
	logs   []*tailLog
	buf    []byte
}

// tailLog is how far a tail has come in one partition.
type tailLog struct {
	*segstore.Log
	next, end int64 // end: where a tail that does not follow stops; else -1
}

// errEnough ends a tail that has emitted what was asked for.
var errEnough = errors.New("enough")

// Tail implements status.Gatherer. It reads as a subscriber does, so ingest
// never waits for it.
func (a *Agent) Tail(ctx context.Context, q status.TailQuery, emit func(*status.TailRecord) error) error {
	t := &tail{filter: q.Filter, emit: emit, left: q.Count}
	if q.Count == 0 {
		t.left = -1
	}
	moved := make(chan struct{}, 1)
	for _, log := range a.store.Logs() {
		if metadata.IsReserved(log.Partition().Stream) {
			continue
		}
		l := &tailLog{Log: log, next: log.HighWatermark(), end: -1}
		if !q.Follow {
			l.end = l.next
		}
		if q.Beginning {
			l.next = log.StartOffset()
		}
		t.logs = append(t.logs, l)
		signal, unwatch := log.Watch()
		defer unwatch()
		if q.Follow {
			go passOn(ctx, signal, moved)
		}
	}
	err := t.run(ctx, q.Follow, moved)
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// passOn passes signals on until ctx ends, which is when the request does.
func passOn(ctx context.Context, from <-chan struct{}, to chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-from:
		}
		select {
		case to <- struct{}{}:
		default: // one signal says it all
		}
	}
}

// run goes round the partitions, a read of each at a time, so that none waits
// long for another.
func (t *tail) run(ctx context.Context, follow bool, moved <-chan struct{}) error {
	for {
		progress := false
		for _, l := range t.logs {
			if err := ctx.Err(); err != nil {
				return err
			}
			before := l.next
			if err := t.step(l); err != nil {
				return err
			}
			progress = progress || l.next != before
		}
		if progress {
			continue
		}
		if !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

// step emits one read's worth of a partition. What retention took or flash lost
// meanwhile is skipped: a tail shows what there is.
func (t *tail) step(l *tailLog) error {
	if l.end >= 0 && l.next >= l.end {
		return nil
	}
	buf, err := l.Read(l.next, t.buf[:0], tailReadBytes)
	var lost *segstore.CorruptError
	switch {
	case errors.Is(err, segstore.ErrOffsetOutOfRange):
		l.next = max(l.next, l.StartOffset())
		return nil
	case errors.As(err, &lost):
		l.next = lost.LastOffset + 1
		return nil
	case err != nil:
		return err
	}
	t.buf = buf
	for len(buf) > 0 {
		one, rest, err := batch.Next(buf)
		if err != nil {
			return err
		}
		if err := t.batch(l, one); err != nil {
			return err
		}
		buf = rest
	}
	return nil
}

func (t *tail) batch(l *tailLog, b []byte) error {
	h, err := batch.ParseHeader(b)
	if err != nil {
		return err
	}
	for r, err := range batch.Records(b, tailBatchMax) {
		if err != nil {
			return err
		}
		if r.Offset < l.next {
			continue
		}
		rec := TailRecord(l.Partition(), &r)
		if rec.Topic == "" || !packet.Match(t.filter, rec.Topic) {
			continue
		}
		if err := t.emit(rec); err != nil {
			return err
		}
		if t.left--; t.left == 0 {
			return errEnough
		}
	}
	l.next = h.NextOffset()
	return nil
}

// topicHeader carries the MQTT topic of records whose key is another.
const topicHeader = "mqtt.topic"

func recordTopic(r *batch.Record) string {
	for i := range r.Headers {
		if r.Headers[i].Key == topicHeader {
			return string(r.Headers[i].Value)
		}
	}
	return string(r.Key)
}

// TailRecord is how a stored record is shown. It copies what it keeps.
func TailRecord(p metadata.PartitionID, r *batch.Record) *status.TailRecord {
	out := &status.TailRecord{
		Stream: p.Stream, Partition: p.Partition, Offset: r.Offset,
		Time: time.UnixMilli(r.Timestamp).UTC(), Topic: recordTopic(r), Key: string(r.Key),
	}
	out.SetValue(r.Value)
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, status.TailHeader{Key: h.Key, Value: string(h.Value)})
	}
	return out
}
