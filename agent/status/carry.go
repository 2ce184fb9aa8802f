package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"cistern/bridge/export"
	"cistern/gossip/metadata"
	"cistern/segstore"
)

// Carrier hands out stored batches, and takes in those of another gateway.
type Carrier interface {
	export.Taker
	// Log returns a partition's log; the error says where to ask instead.
	Log(p metadata.PartitionID) (export.Log, error)
	// Forget forgets what was taken of an export, or of all (""), and returns of how
	// many partitions. They can be taken a second time then.
	Forget(export string) (partitions int, err error)
}

const (
	batchesBytesMax = 4 << 20 // of one answer of /batches
	importTimeout   = 2 * time.Minute
)

// batchesHead is what stands in the headers of an answer of /batches.
const (
	headStart = "Cistern-Start-Offset"
	headEnd   = "Cistern-High-Watermark"
	headLost  = "Cistern-Lost-Until" // the last offset that can't be read
	headCause = "Cistern-Lost-Cause"
)

// batches answers with whole stored batches of a partition from an offset on.
func (s *Server) batches(w http.ResponseWriter, r *http.Request) {
	q := query{values: r.URL.Query()}
	p, offset, size := q.partition(), q.number("offset"), q.number("bytes")
	if q.err != nil || s.Carrier == nil {
		answer(w, http.StatusBadRequest, problem{fmt.Sprintf("bad query: %v", q.err)})
		return
	}
	log, err := s.Carrier.Log(p)
	if err != nil {
		answer(w, http.StatusNotFound, problem{err.Error()})
		return
	}
	b, err := log.Read(offset, nil, int(min(size, batchesBytesMax)))
	w.Header().Set(headStart, strconv.FormatInt(log.StartOffset(), 10))
	w.Header().Set(headEnd, strconv.FormatInt(log.HighWatermark(), 10))
	var lost *segstore.CorruptError
	switch {
	case errors.As(err, &lost):
		w.Header().Set(headLost, strconv.FormatInt(lost.LastOffset, 10))
		w.Header().Set(headCause, strconv.QuoteToASCII(lost.Error()))
	case errors.Is(err, segstore.ErrOffsetOutOfRange):
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	case err != nil:
		answer(w, http.StatusInternalServerError, problem{err.Error()})
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b) // the client is gone: nobody to tell
}

// query reads what a client asks; the first error stays.
type query struct {
	values url.Values
	err    error
}

func (q *query) number(name string) int64 {
	n, err := strconv.ParseInt(q.values.Get(name), 10, 64)
	if (err != nil || n < 0) && q.err == nil {
		q.err = fmt.Errorf("%s is %q; allowed are whole numbers from 0", name, q.values.Get(name))
	}
	return n
}

func (q *query) partition() metadata.PartitionID {
	n := q.number("partition")
	if n >= 1<<31 {
		q.err = fmt.Errorf("partition %d is none", n)
	}
	return metadata.PartitionID{Stream: q.values.Get("stream"), Partition: int32(n)}
}

// exportIDMax bounds the id of an export, which becomes part of a key on flash.
const exportIDMax = 32

func (q *query) chunk() export.Chunk {
	c := export.Chunk{Export: q.values.Get("export"), Site: q.values.Get("site"), Gateway: q.values.Get("gateway"), Partition: q.partition(), From: q.number("from")}
	if (c.Export == "" || len(c.Export) > exportIDMax) && q.err == nil {
		q.err = fmt.Errorf("export is %q; allowed are 1 to %d characters", c.Export, exportIDMax)
	}
	if err := metadata.ValidateStreamName(c.Partition.Stream); err != nil && q.err == nil {
		q.err = err
	}
	return c
}

// taken is the answer of /import.
type taken struct {
	Next int64 `json:"next_offset"`
}

func (s *Server) imported(w http.ResponseWriter, r *http.Request) {
	s.carry(w, r, func(ctx context.Context, c export.Chunk) (int64, error) { return s.Carrier.Imported(ctx, c) })
}

// take takes a chunk of batches and answers when they are confirmed.
func (s *Server) take(w http.ResponseWriter, r *http.Request) {
	select {
	case s.imports <- struct{}{}:
		defer func() { <-s.imports }()
	default:
		answer(w, http.StatusServiceUnavailable, problem{"another import is running; let it end first"})
		return
	}
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(importTimeout + writeTimeout))
	_ = control.SetReadDeadline(time.Now().Add(importTimeout))
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, export.ChunkBytesMax))
	_ = control.SetReadDeadline(time.Time{}) // see readOrder
	if err != nil {
		answer(w, http.StatusBadRequest, problem{fmt.Sprintf("bad chunk: %v", err)})
		return
	}
	s.carry(w, r, func(ctx context.Context, c export.Chunk) (int64, error) {
		c.Batches = b
		return s.Carrier.Import(ctx, c)
	})
}

func (s *Server) carry(w http.ResponseWriter, r *http.Request, do func(context.Context, export.Chunk) (int64, error)) {
	q := query{values: r.URL.Query()}
	c := q.chunk()
	if q.err != nil || s.Carrier == nil {
		answer(w, http.StatusBadRequest, problem{fmt.Sprintf("bad query: %v", q.err)})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), importTimeout)
	defer cancel()
	next, err := do(ctx, c)
	if err != nil {
		answer(w, http.StatusUnprocessableEntity, problem{err.Error()})
		return
	}
	answer(w, http.StatusOK, taken{next})
}

// forgotten is the answer of /import/forget.
type forgotten struct {
	Partitions int `json:"partitions"`
}

func (s *Server) forget(w http.ResponseWriter, r *http.Request) {
	if s.Carrier == nil {
		answer(w, http.StatusBadRequest, problem{"nothing can be imported here"})
		return
	}
	select {
	case s.imports <- struct{}{}:
		defer func() { <-s.imports }()
	default:
		answer(w, http.StatusServiceUnavailable, problem{"an import is running; let it end first"})
		return
	}
	n, err := s.Carrier.Forget(r.URL.Query().Get("export"))
	if err != nil {
		answer(w, http.StatusInternalServerError, problem{err.Error()})
		return
	}
	answer(w, http.StatusOK, forgotten{n})
}

// Forget has a gateway forget what it took of an export, or of all ("").
func (c *Client) Forget(ctx context.Context, export string) (partitions int, err error) {
	out, err := c.ask(ctx, http.MethodPost, "/import/forget?"+url.Values{"export": {export}}.Encode(), nil)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	var a forgotten
	if err := json.NewDecoder(io.LimitReader(out, answerBytesMax)).Decode(&a); err != nil {
		return 0, fmt.Errorf("answer from %s: %w", c.where, err)
	}
	return a.Partitions, nil
}

func chunkQuery(c *export.Chunk) string {
	return url.Values{"export": {c.Export}, "site": {c.Site}, "gateway": {c.Gateway}, "stream": {c.Partition.Stream},
		"partition": {strconv.Itoa(int(c.Partition.Partition))}, "from": {strconv.FormatInt(c.From, 10)}}.Encode()
}

// Imported implements export.Taker.
func (c *Client) Imported(ctx context.Context, chunk export.Chunk) (int64, error) {
	return c.carry(ctx, http.MethodGet, chunk)
}

// Import implements export.Taker.
func (c *Client) Import(ctx context.Context, chunk export.Chunk) (int64, error) {
	return c.carry(ctx, http.MethodPost, chunk)
}

func (c *Client) carry(ctx context.Context, method string, chunk export.Chunk) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, importTimeout+writeTimeout)
	defer cancel()
	out, err := c.ask(ctx, method, "/import?"+chunkQuery(&chunk), chunk.Batches)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	var a taken
	if err := json.NewDecoder(io.LimitReader(out, answerBytesMax)).Decode(&a); err != nil {
		return 0, fmt.Errorf("answer from %s: %w", c.where, err)
	}
	return a.Next, nil
}
