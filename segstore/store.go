package segstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/segment"
	"cistern/segstore/vfs"
)

// Defaults and limits of a store.
const (
	SegmentBytesDefault = 4 << 20
	SegmentBytesMin     = 64 << 10
	SegmentBytesMax     = 64 << 20
	PartitionsMax       = 4096 // of all streams: each has its small facts in every snapshot
	SpareSegments       = 2    // kept ready, so that a roll never waits for zeroing
	maxBytesShare       = 0.8
)

// Config says where a store lives and how large it may become.
type Config struct {
	Dir          string
	MaxBytes     int64 // of all segments; 0: 80 % of what the file system has left for us
	SegmentBytes int64 // of one segment; 0: SegmentBytesDefault
	Logger       *slog.Logger

	// For tests: a file system, a metadata file and clocks that misbehave.
	FS    vfs.FS
	Meta  func(path string) (Meta, error)
	Clock Clock
}

// Clock is where the store reads time. Order never depends on it.
type Clock struct {
	Wall func() time.Time
	Mono func() time.Duration // since any fixed moment
}

// Store is everything a gateway keeps on flash: one journal per lane, in
// segments of one shared pool, and a Log per partition on top.
//
// Goroutines: one committer per lane (started by Open, ended by Close) owns
// that lane's end; Run zeroes spare segments, applies retention and heals a
// latched lane. Everything else runs on the caller's goroutine.
type Store struct {
	cfg    Config
	fs     vfs.FS
	log    *slog.Logger
	meta   Meta
	lock   io.Closer
	id     segment.StoreID
	pool   *pool
	files  *fileCache
	index  *indexCache
	state  *State
	lanes  []*lane
	opened OpenReport

	incarnation uint64
	metaLost    bool  // the metadata file is new, the segments are not
	ageBase     int64 // ms, at monoBase
	monoBase    time.Duration

	mu       sync.RWMutex
	streams  map[string]metadata.StreamConfig
	logs     map[metadata.PartitionID]*Log
	refs     map[uint32]*Log
	nextRef  uint32
	segments map[uint64]*segmentInfo // sealed and active, by segment ID
	order    [][]uint64              // by lane, oldest first
	births   map[uint64]uint32       // segment ID → slot, until the first commit is on flash
	nextID   uint64                  // the last segment ID given

	reclaimMu   sync.Mutex // one search for room at a time
	reclaimLast time.Duration

	reclaim chan struct{} // wakes Run: there may be something to free
	closing atomic.Bool
	stats   counters
	patches patchSet
}

// segmentInfo is what is remembered of a live segment: a few dozen bytes, so
// that memory stays flat whatever the backlog.
type segmentInfo struct {
	id       uint64
	slot     uint32
	lane     uint8
	size     int64 // of the file
	firstSeq uint64

	// Of the last commit; only the lane may look before sealed is set.
	lastSeq uint64
	age     int64 // ms
	sealed  atomic.Bool
}

func (c *Config) setDefaults() error {
	if c.Dir == "" {
		return errors.New("store: no folder was named")
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = SegmentBytesDefault
	}
	if c.SegmentBytes < SegmentBytesMin || c.SegmentBytes > SegmentBytesMax || c.SegmentBytes%segment.PageSize != 0 {
		return fmt.Errorf("store: segment_bytes is %d, allowed are multiples of %d from %d to %d",
			c.SegmentBytes, segment.PageSize, SegmentBytesMin, SegmentBytesMax)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.FS == nil {
		c.FS = vfs.OS
	}
	if c.Meta == nil {
		c.Meta = openBolt
	}
	if c.Clock.Wall == nil {
		c.Clock.Wall = time.Now
	}
	if c.Clock.Mono == nil {
		start := time.Now()
		c.Clock.Mono = func() time.Duration { return time.Since(start) }
	}
	return nil
}

func (c *Config) segmentDir() string { return filepath.Join(c.Dir, "segments") }

// maxBytes returns the room for segments: as configured, or a share of what is
// free together with what the store has already.
func (s *Store) maxBytes(own int64) (int64, error) {
	if s.cfg.MaxBytes > 0 {
		return s.cfg.MaxBytes, nil
	}
	u, err := s.fs.Usage(s.cfg.segmentDir())
	if err != nil {
		return 0, err
	}
	return int64(float64(u.Available+own) * maxBytesShare), nil
}

// age is the log age in ms: how long the store has been running, over all its
// starts. Retention counts in it, so that no jump of the wall clock ever
// deletes a record; time spent switched off does not count.
func (s *Store) age() int64 {
	return s.ageBase + (s.cfg.Clock.Mono() - s.monoBase).Milliseconds()
}

// ID names the store for ever; Incarnation rises with every Open.
func (s *Store) ID() segment.StoreID { return s.id }
func (s *Store) Incarnation() uint64 { return s.incarnation }

// State holds small facts; see there.
func (s *Store) State() *State { return s.state }

// Log returns the log of a partition, nil when there is none.
func (s *Store) Log(p metadata.PartitionID) *Log {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.logs[p]
}

func (s *Store) logByRef(ref uint32) *Log {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.refs[ref]
}

// Stream returns the configuration of a stream.
func (s *Store) Stream(name string) (metadata.StreamConfig, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c, ok := s.streams[name]
	return c, ok
}

// Streams returns all streams, by name.
func (s *Store) Streams() []metadata.StreamConfig {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]metadata.StreamConfig, 0, len(s.streams))
	for _, c := range s.streams {
		out = append(out, c)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Logs returns the logs of all partitions, by stream and partition.
func (s *Store) Logs() []*Log {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*Log, 0, len(s.logs))
	for _, g := range s.logs {
		out = append(out, g)
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i].id, out[j].id
		return a.Stream < b.Stream || a.Stream == b.Stream && a.Partition < b.Partition
	})
	return out
}

// Run keeps house until ctx ends: zeroes spare segments, applies retention,
// heals what is latched.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(retentionInterval)
	defer tick.Stop()
	for {
		s.pool.refill(ctx)
		for _, l := range s.lanes {
			l.heal()
		}
		s.retain()
		s.freeAhead()
		s.reopenLanes()
		s.sweepPatches()
		select {
		case <-ctx.Done():
			return nil
		case <-s.reclaim:
		case <-tick.C:
		}
	}
}

// wake makes Run look around soon.
func (s *Store) wake() {
	select {
	case s.reclaim <- struct{}{}:
	default:
	}
}

// Close commits what is queued, saves the small facts and lets go of the
// folder. Appends after it fail with ErrClosed.
func (s *Store) Close() error {
	if s.closing.Swap(true) {
		return nil
	}
	for _, l := range s.lanes {
		l.stop()
	}
	s.patches.making.Lock() // one that is under way ends first
	defer s.patches.making.Unlock()
	s.sweepPatches()
	err := s.state.saveAll(s.cleanStop())
	s.files.closeAll()
	return errors.Join(err, s.meta.Close(), s.lock.Close())
}
