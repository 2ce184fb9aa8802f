package sinktest

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"cistern/bridge/drain"
)

// State is a drain.State that can crash.
type State struct {
	// Step is called before and after each write; an error: it did not happen.
	Step func(string) error

	mu      sync.Mutex
	durable map[string][]byte
	latest  map[string][]byte
}

// NewState returns an empty state.
func NewState() *State {
	return &State{durable: map[string][]byte{}, latest: map[string][]byte{}, Step: func(string) error { return nil }}
}

// Get implements drain.State.
func (s *State) Get(key string) []byte { s.mu.Lock(); defer s.mu.Unlock(); return s.latest[key] }

// Put implements drain.State.
func (s *State) Put(key string, value []byte) {
	if s.Step("before Put") != nil {
		return
	}
	s.mu.Lock()
	s.latest[key] = value
	s.mu.Unlock()
	s.Step("after Put")
}

// PutSync implements drain.State.
func (s *State) PutSync(key string, value []byte) error {
	if err := s.Step("before PutSync"); err != nil {
		return err
	}
	s.mu.Lock()
	s.latest[key], s.durable[key] = value, value
	s.mu.Unlock()
	return s.Step("after PutSync")
}

// Survive returns what is left after a crash.
func (s *State) Survive(keepLazy bool) *State {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := NewState()
	n.durable, n.latest = maps.Clone(s.durable), maps.Clone(s.durable)
	if keepLazy {
		n.latest = maps.Clone(s.latest)
	}
	return n
}

// Quarantine keeps poison by its coordinates.
type Quarantine struct {
	mu   sync.Mutex
	kept map[string]bool
}

// Add implements drain.Quarantine.
func (q *Quarantine) Add(p drain.Poison) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.kept == nil {
		q.kept = map[string]bool{}
	}
	q.kept[fmt.Sprintf("%s@%d-%d %s", p.Partition, p.FirstOffset, p.LastOffset, p.Reason)] = true
	return nil
}

// Names tells what is kept, like "s/0@10-19 REASON".
func (q *Quarantine) Names() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Sorted(maps.Keys(q.kept))
}
