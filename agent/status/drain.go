package status

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// DrainAdmin is what an operator can order of the drain at the gateway that
// drains. It must allow concurrent calls. An error that comes of the context leaves
// open whether the order was carried out.
type DrainAdmin interface {
	// PauseDrain stops or resumes the drain of partitions.
	PauseDrain(ctx context.Context, o PauseOrder) (PauseAnswer, error)
	// SkipDrain gives up undrained records of a partition.
	SkipDrain(ctx context.Context, o SkipOrder) (SkipAnswer, error)
}

// ErrNoUplink is the answer to orders for a drain where there is none.
var ErrNoUplink = errors.New("this gateway has no uplink: it buffers, and drains nothing")

// AllPartitions in an order means every partition of its stream.
const AllPartitions = -1

// PauseOrder says what to pause or resume.
type PauseOrder struct {
	Stream    string `json:"stream"`    // "": every stream
	Partition int32  `json:"partition"` // AllPartitions: every one of the stream
	On        bool   `json:"on"`        // false resumes
}

// PauseAnswer says what was paused or resumed.
type PauseAnswer struct {
	Done []string `json:"done"` // partitions
	// Elsewhere are partitions that another gateway of the site drains, each with
	// the gateway to ask, "" when nobody drains it now.
	Elsewhere []DrainedAt `json:"elsewhere"`
}

// DrainedAt says who drains a partition.
type DrainedAt struct {
	Partition string `json:"partition"`
	Gateway   string `json:"gateway"`
}

// String names both.
func (d DrainedAt) String() string {
	if d.Gateway == "" {
		return d.Partition + " is drained by nobody now"
	}
	return d.Partition + " is drained by " + d.Gateway
}

// SkipOrder gives up what is not drained below offset To, which is moved down to
// where a batch begins. With Try nothing happens.
type SkipOrder struct {
	Stream    string `json:"stream"`
	Partition int32  `json:"partition"`
	To        int64  `json:"to"` // SkipToEnd: all that is confirmed now
	Why       string `json:"why"`
	Try       bool   `json:"try"`
	Exported  bool   `json:"exported"` // the records were carried out: also where there is no uplink
}

// SkipToEnd is the high watermark at the moment of the order.
const SkipToEnd = -1

// SkipAnswer is what was given up, or would be: offsets First to Next-1.
type SkipAnswer struct {
	First     int64     `json:"first_offset"`
	Next      int64     `json:"next_offset"`
	Records   int64     `json:"records"`
	FirstTime time.Time `json:"first_time,omitzero"` // of the first record, zero when it can't be read
	LastTime  time.Time `json:"last_time,omitzero"`  // of the last one
}

func (s *Server) drainOrders(mux *http.ServeMux) {
	ready := func() error {
		if s.Drain == nil {
			return ErrNoUplink
		}
		return nil
	}
	order(mux, "/drain/pause", ready, func(ctx context.Context, o *PauseOrder) (any, error) {
		a, err := s.Drain.PauseDrain(ctx, *o)
		a.Done, a.Elsewhere = append([]string{}, a.Done...), append([]DrainedAt{}, a.Elsewhere...)
		return a, err
	})
	order(mux, "/drain/skip", ready, func(ctx context.Context, o *SkipOrder) (any, error) {
		if o.To < SkipToEnd {
			return nil, fmt.Errorf("offset %d is none", o.To)
		}
		return s.Drain.SkipDrain(ctx, *o)
	})
	mux.HandleFunc("GET /batches", timed(s.batches))
	mux.HandleFunc("GET /import", timed(s.imported))
	mux.HandleFunc("POST /import", s.take)
	mux.HandleFunc("POST /import/forget", timed(s.forget))
}

// PauseDrain stops or resumes the drain of partitions.
func (c *Client) PauseDrain(ctx context.Context, o PauseOrder) (PauseAnswer, error) {
	var a PauseAnswer
	err := c.order(ctx, "/drain/pause", o, &a)
	return a, err
}

// SkipDrain gives up undrained records, or tells what that would mean.
func (c *Client) SkipDrain(ctx context.Context, o SkipOrder) (SkipAnswer, error) {
	var a SkipAnswer
	err := c.order(ctx, "/drain/skip", o, &a)
	return a, err
}
