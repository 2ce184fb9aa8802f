package source

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Status is what a source tells about itself. Counters count since the process
// started.
type Status struct {
	URL      string `json:"url"`
	ClientID string `json:"client_id"`

	ConnectedSince time.Time      `json:"connected_since,omitzero"` // zero: not connected
	SessionPresent bool           `json:"session_present"`          // the broker knew us when we connected
	SessionsLost   int64          `json:"sessions_lost"`            // times it had forgotten us, with what it had queued
	Subscriptions  []Subscription `json:"subscriptions,omitempty"`

	LastError   string    `json:"last_error,omitempty"` // kept after it is over: see LastErrorAt
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	Waiting     string    `json:"waiting,omitempty"` // why the gateway takes nothing at the moment

	Received        int64  `json:"received"`
	Committed       int64  `json:"committed"`
	SkippedRetained int64  `json:"skipped_retained"`
	Rejected        int64  `json:"rejected"`     // can never become a record; acknowledged
	DroppedQoS0     int64  `json:"dropped_qos0"` // refused by the gateway, and nobody sends them again
	LastRejected    string `json:"last_rejected,omitempty"`
	InWindow        int    `json:"in_window"` // received and not yet acknowledged
	Window          int    `json:"window"`
}

// Subscription is one filter and what the broker said to it.
type Subscription struct {
	Filter  string `json:"filter"`
	Granted bool   `json:"granted"`
	QoS     byte   `json:"qos"`             // granted
	Error   string `json:"error,omitempty"` // refused, or granted with less than asked
}

// state is the Status under way: counters free of locks for the path of every
// message, the rest behind a mutex.
type state struct {
	received, committed, skipped, rejected, dropped atomic.Int64

	mu     sync.Mutex
	fixed  Status
	window *window // of the connection; nil without one
}

// Status returns the state of the source now. It may be called at any time.
func (s *Source) Status() Status {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	st := s.state.fixed
	st.Subscriptions = slices.Clone(st.Subscriptions)
	if s.state.window != nil {
		st.InWindow = s.state.window.len()
	}
	st.Received = s.state.received.Load()
	st.Committed = s.state.committed.Load()
	st.SkippedRetained = s.state.skipped.Load()
	st.Rejected = s.state.rejected.Load()
	st.DroppedQoS0 = s.state.dropped.Load()
	return st
}

func (t *state) set(change func(*Status)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.fixed)
}

func (t *state) setWindow(w *window) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.window = w
}

func (t *state) setError(err error) {
	t.set(func(s *Status) { s.LastError, s.LastErrorAt = err.Error(), time.Now() })
}

// setWaiting notes why nothing is taken at the moment; "" when it goes on.
func (t *state) setWaiting(why string) { t.set(func(s *Status) { s.Waiting = why }) }

func (t *state) disconnected() {
	t.set(func(s *Status) {
		s.ConnectedSince, s.SessionPresent, s.Subscriptions, s.Waiting = time.Time{}, false, nil, ""
	})
	t.setWindow(nil)
}
