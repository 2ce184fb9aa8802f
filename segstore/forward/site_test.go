package forward

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
	"cistern/segstore/ingest"
	"cistern/segstore/replica"
)

// site is one gateway whose partitions are all led elsewhere, by a leader that
// does as it is told.
type site struct {
	t   *testing.T
	dir string

	mu        sync.Mutex
	leaders   map[metadata.PartitionID]*leader
	mood      error // what it answers; nil: what is right
	moodOf    map[metadata.PartitionID]error
	hung      []*replica.Append
	image     *metadata.Image
	changed   chan struct{}
	minInsync int

	store *segstore.Store
	f     *Forwarder
	acc   *ingest.Accumulator
	stop  func()
}

var errHang = errors.New("no answer at all")

func newSite(t *testing.T, minInsync int, streams ...string) *site {
	s := &site{t: t, dir: t.TempDir(), leaders: map[metadata.PartitionID]*leader{}, moodOf: map[metadata.PartitionID]error{},
		changed: make(chan struct{}, 1), minInsync: minInsync, image: metadata.NewImage()}
	for _, name := range streams {
		c := metadata.DefaultStreamConfig(name)
		c.Partitions, c.CommitWindow = 2, 0
		s.image.Streams[name] = &metadata.StreamState{Config: c, Partitions: make([]metadata.PartitionState, 2)}
	}
	s.open(Policy{ParkAfter: 50 * time.Millisecond, ParkHeldAfter: 50 * time.Millisecond, RefuseAfter: 100 * time.Millisecond})
	t.Cleanup(func() { s.close() })
	return s
}

func (s *site) open(p Policy) {
	var err error
	if s.store, err = segstore.Open(segstore.Config{Dir: s.dir}); err != nil {
		s.t.Fatal(err)
	}
	s.f, err = New(Config{Store: s.store, Leader: s, Policy: p,
		Image:     func() *metadata.Image { s.mu.Lock(); defer s.mu.Unlock(); return s.image },
		Changed:   func() (<-chan struct{}, func()) { return s.changed, func() {} },
		MinInsync: func(metadata.PartitionID) int { return s.minInsync }})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.f.Run(ctx) }()
	s.acc = ingest.New(ingest.Config{Store: s.store, Journal: s.f})
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
		s.acc.Close()
		if err := s.store.Close(); err != nil {
			s.t.Error(err)
		}
	}
}

func (s *site) close() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// Deliver implements Leader.
func (s *site) Deliver(batches []*replica.Append) {
	s.mu.Lock()
	var ready []*replica.Append
	for _, a := range batches {
		mood := s.mood
		if m, ok := s.moodOf[a.Partition]; ok {
			mood = m
		}
		a.BaseOffset, a.Err = -1, mood
		if mood == errHang {
			s.hung = append(s.hung, a)
			continue
		}
		if mood == nil {
			a.Err = s.leader(a.Partition).take(a.Batch)
		}
		ready = append(ready, a)
	}
	s.mu.Unlock()
	for _, a := range ready {
		a.Done(a)
	}
}

func (s *site) leader(p metadata.PartitionID) *leader {
	l := s.leaders[p]
	if l == nil {
		l = &leader{producers: map[int64]int32{}}
		s.leaders[p] = l
	}
	return l
}

func (s *site) setMood(err error) {
	s.mu.Lock()
	s.mood = err
	s.mu.Unlock()
}

// elect makes another gateway lead, and says so.
func (s *site) elect() {
	s.mu.Lock()
	s.image = s.image.Clone()
	for name, x := range s.image.Streams {
		x = x.Clone()
		for i := range x.Partitions {
			x.Partitions[i].LeaderEpoch++
			x.Partitions[i].Leader = 2
		}
		s.image.Streams[name] = x
	}
	s.mu.Unlock()
	s.changed <- struct{}{}
}

// answerHung ends what hangs: its fate is unknown.
func (s *site) answerHung() {
	s.mu.Lock()
	hung := s.hung
	s.hung = nil
	s.mu.Unlock()
	for _, a := range hung {
		a.Err = replica.ErrUnreachable
		a.Done(a)
	}
}

func (s *site) at(p metadata.PartitionID) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.leader(p).log)
}

// publish hands records first to last to a partition.
func (s *site) publish(p metadata.PartitionID, first, last int64, c ingest.Completion) {
	s.t.Helper()
	for n := first; n <= last; n++ {
		if err := s.offer(p, n, c); err != nil {
			s.t.Fatalf("record %d: %v", n, err)
		}
	}
}

// offer hands over record n, which may be refused at once.
func (s *site) offer(p metadata.PartitionID, n int64, c ingest.Completion) error {
	return s.acc.Append(s.t.Context(), p, &batch.Record{Value: binary.BigEndian.AppendUint64(nil, uint64(n))}, c, uint64(n))
}

// until waits for a condition that comes true after some event.
func (s *site) until(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: never; %+v", what, s.f.Status())
		}
	}
}

// settled waits until nothing is parked, and returns what was counted so far: on
// a machine that stands still for ParkAfter anything may have been parked.
func (s *site) settled() Counts {
	s.t.Helper()
	s.until("nothing parked", func() bool { return len(s.f.Status().Partitions) == 0 })
	return s.f.Status().Counts
}

func (s *site) expect(p metadata.PartitionID, last int64) {
	s.t.Helper()
	s.until(fmt.Sprintf("%d records at the leader of %s", last, p), func() bool { return int64(len(s.at(p))) >= last })
	for i, n := range s.at(p) {
		if n != int64(i+1) {
			s.t.Fatalf("%s: record %d is at %d: %v", p, n, i, s.at(p))
		}
	}
}

// sender notes answers.
type sender struct {
	mu      sync.Mutex
	answers []uint64
	failed  map[uint64]error
}

func (c *sender) Complete(seq uint64, _ int64, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers = append(c.answers, seq)
	if err != nil {
		if c.failed == nil {
			c.failed = map[uint64]error{}
		}
		c.failed[seq] = err
	}
	return true
}

func (c *sender) Flush() {}

func (c *sender) count() (all, failed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.answers), len(c.failed)
}

func (c *sender) answered(n int) func() bool {
	return func() bool { all, _ := c.count(); return all >= n }
}
