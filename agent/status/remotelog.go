package status

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"cistern/gossip/metadata"
	"cistern/segstore"
)

// RemoteLog is a partition's records at a running gateway. It implements
// export.Log; offsets are as of the last Read. It is used by one goroutine.
type RemoteLog struct {
	ctx        context.Context
	client     *Client
	id         metadata.PartitionID
	start, end int64
}

// Log returns the log of a partition, whose offsets a Document has told.
func (c *Client) Log(ctx context.Context, stream string, p *Partition) *RemoteLog {
	return &RemoteLog{ctx, c, metadata.PartitionID{Stream: stream, Partition: p.Partition}, p.StartOffset, p.HighWatermark}
}

// Partition names the partition.
func (l *RemoteLog) Partition() metadata.PartitionID { return l.id }

// StartOffset is the first offset that is stored.
func (l *RemoteLog) StartOffset() int64 { return l.start }

// HighWatermark is where what is confirmed ends.
func (l *RemoteLog) HighWatermark() int64 { return l.end }

// Read appends whole stored batches to buf, as a segstore.Log does.
func (l *RemoteLog) Read(offset int64, buf []byte, sizeMax int) ([]byte, error) {
	q := url.Values{"stream": {l.id.Stream}, "partition": {strconv.Itoa(int(l.id.Partition))},
		"offset": {strconv.FormatInt(offset, 10)}, "bytes": {strconv.Itoa(sizeMax)}}
	ctx, cancel := context.WithTimeout(l.ctx, writeTimeout+readTimeout)
	defer cancel()
	r, err := l.client.send(ctx, http.MethodGet, "/batches?"+q.Encode(), nil)
	if err != nil {
		return buf, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK && r.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		return buf, refusal(r)
	}
	l.start, l.end = headNumber(r, headStart, l.start), headNumber(r, headEnd, l.end)
	if r.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return buf, fmt.Errorf("%s: offset %d, held are %d to %d: %w", l.id, offset, l.start, l.end-1, segstore.ErrOffsetOutOfRange)
	}
	if last := headNumber(r, headLost, -1); last >= offset {
		cause := r.Header.Get(headCause)
		if s, err := strconv.Unquote(cause); err == nil {
			cause = s
		}
		return buf, &segstore.CorruptError{Stream: l.id.Stream, Partition: l.id.Partition, FirstOffset: offset, LastOffset: last, Cause: errors.New(cause)}
	}
	if r.ContentLength < 0 || r.ContentLength > batchesBytesMax {
		return buf, fmt.Errorf("answer from %s: %d bytes", l.client.where, r.ContentLength)
	}
	n := len(buf)
	buf = append(buf, make([]byte, r.ContentLength)...)
	if _, err := io.ReadFull(r.Body, buf[n:]); err != nil {
		return buf[:n], err
	}
	return buf, nil
}

func headNumber(r *http.Response, name string, otherwise int64) int64 {
	n, err := strconv.ParseInt(r.Header.Get(name), 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}
