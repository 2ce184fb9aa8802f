package replica

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
)

// Limits and defaults of a Manager.
const (
	ReplicaLagMaxDefault = 2 * time.Second
	FetchWaitMax         = 5 * time.Second // what an idle follower lets the leader wait
	FetchBytesMax        = 4 << 20         // of records in one answer
	altersMax            = 32              // ISR changes on their way to the controller
	alterTimeout         = 5 * time.Second
	tickInterval         = 250 * time.Millisecond
)

// Controller is where ISR changes go. gossip/quorum's Quorum is one.
type Controller interface {
	Propose(ctx context.Context, c metadata.Change) (metadata.Result, error)
}

// Config of a Manager.
type Config struct {
	Store      *segstore.Store
	Peers      Peers
	Controller Controller
	// Replicas and MinInsync say what the site makes of a stream's settings.
	MinInsync     func(c metadata.StreamConfig, replicas int) int
	ReplicaLagMax time.Duration
	ScrubEvery    time.Duration // how often all that is kept is read; 0: never
	Logger        *slog.Logger
}

// Manager runs the protocol for every partition that this gateway keeps a
// copy of: it joins the pure [Partition] with the journal, the other gateways
// and the controller.
//
// Locks are taken in this order: applying, Manager.mu, local.mu, the log's own.
// Nothing is proposed and nobody answered while Manager.mu or local.mu is held.
type Manager struct {
	cfg    Config
	log    *slog.Logger
	start  time.Time
	alters chan struct{} // a place for each ISR change on its way

	applying sync.Mutex // one image at a time

	mu          sync.RWMutex
	self        metadata.NodeID // NoNode before Registered
	incarnation uint64
	image       *metadata.Image
	locals      map[metadata.PartitionID]*local
	fetchers    map[metadata.NodeID]*fetcher
	polls       map[metadata.NodeID]*poll
	running     context.Context // Run's; nil: not running
	watchers    map[chan struct{}]struct{}
	wg          sync.WaitGroup

	mender *mender
	counts counts
}

// A Manager is what peers are served by.
var _ Service = (*Manager)(nil)

// NewManager returns a manager that leads and follows nothing yet.
func NewManager(cfg Config) *Manager {
	if cfg.ReplicaLagMax == 0 {
		cfg.ReplicaLagMax = ReplicaLagMaxDefault
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Manager{
		cfg: cfg, log: cfg.Logger, start: time.Now(), alters: make(chan struct{}, altersMax),
		self: metadata.NoNode, image: metadata.NewImage(),
		locals: map[metadata.PartitionID]*local{}, fetchers: map[metadata.NodeID]*fetcher{}, polls: map[metadata.NodeID]*poll{},
		watchers: map[chan struct{}]struct{}{},
	}
	m.mender = newMender(m)
	return m
}

// now is the protocol's clock: monotonic, and nobody else's.
func (m *Manager) now() time.Duration { return time.Since(m.start) }

// Run fetches, watches lags and keeps small facts until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	m.mu.Lock()
	m.running = ctx
	for _, f := range m.fetchers {
		m.startFetcher(f)
	}
	m.wg.Go(func() { m.mender.run(ctx) })
	m.wg.Go(func() { (&scrubber{m: m, every: m.cfg.ScrubEvery}).run(ctx) })
	m.mu.Unlock()
	tick := time.NewTicker(tickInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			m.stop()
			return nil
		case <-tick.C:
			for _, l := range m.all() {
				l.tick()
				l.startHealing()
			}
			m.followLate()
		}
	}
}

// stop ends the fetchers and answers what still waits: its fate is unknown.
func (m *Manager) stop() {
	m.mu.Lock()
	m.running = nil
	polls := m.polls
	m.polls = map[metadata.NodeID]*poll{}
	m.mu.Unlock()
	for _, p := range polls {
		p.end()
	}
	m.wg.Wait()
	for _, l := range m.all() {
		l.close()
	}
}

func (m *Manager) all() []*local {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make([]*local, 0, len(m.locals))
	for _, l := range m.locals {
		out = append(out, l)
	}
	return out
}

// Registered tells the manager who it is on the site. Before that it neither
// leads nor follows.
func (m *Manager) Registered(self metadata.NodeID, incarnation uint64) error {
	m.mu.Lock()
	m.self, m.incarnation = self, incarnation
	image := m.image
	m.mu.Unlock()
	for _, l := range m.all() {
		l.registered(incarnation)
	}
	return m.Apply(image)
}

// Self returns what Registered said last.
func (m *Manager) Self() (metadata.NodeID, uint64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.self, m.incarnation
}

// Apply takes the site's metadata of this moment: roles change here. Images
// older than the last are ignored. An error names a partition that can't be
// kept here; the others are not touched by it.
func (m *Manager) Apply(image *metadata.Image) error {
	m.applying.Lock()
	defer m.applying.Unlock()
	m.mu.Lock()
	if image.Index < m.image.Index {
		m.mu.Unlock()
		return nil
	}
	other := image.Index != m.image.Index
	m.image = image
	self := m.self
	m.mu.Unlock()
	if other {
		m.mender.changed()
	}
	if self == metadata.NoNode {
		return nil
	}
	var failure error
	moved := false
	for name, s := range image.Streams {
		for n := range s.Partitions {
			id := metadata.PartitionID{Stream: name, Partition: int32(n)}
			changed, err := m.applyPartition(id, s, image)
			if err != nil && failure == nil {
				failure = err
			}
			moved = moved || changed
		}
	}
	for _, l := range m.all() {
		if image.Partition(l.id) == nil && l.apply(nil, image, 0) {
			moved = true
		}
	}
	if moved {
		m.followLeaders()
	}
	m.tell()
	return failure
}

// Watch returns a channel that gets a value after Apply has taken in other
// metadata, and a function that ends it.
func (m *Manager) Watch() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers[ch] = struct{}{}
	return ch, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, ch)
	}
}

func (m *Manager) tell() {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for ch := range m.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// applyPartition says whether this gateway's part in the partition changed.
func (m *Manager) applyPartition(id metadata.PartitionID, s *metadata.StreamState, image *metadata.Image) (changed bool, err error) {
	state := &s.Partitions[id.Partition]
	l := m.local(id)
	switch kept := state.IsReplica(m.self); {
	case l == nil && !kept:
		return false, nil
	case l == nil:
		if l, err = m.addLocal(id, s); err != nil {
			return false, fmt.Errorf("partition %s can't be kept here: %w", id, err)
		}
	case !kept:
		return l.apply(nil, image, 0), nil
	}
	return l.apply(state, image, m.cfg.MinInsync(s.Config, state.Settled())), nil
}

// addLocal opens this gateway's copy of a partition.
func (m *Manager) addLocal(id metadata.PartitionID, s *metadata.StreamState) (*local, error) {
	if known, ok := m.cfg.Store.Stream(id.Stream); !ok || known != s.Config {
		if err := m.cfg.Store.PutStream(s.Config); err != nil {
			return nil, err
		}
	}
	if err := m.sameStream(id, s.ID); err != nil {
		return nil, err
	}
	l, err := newLocal(m, id, m.cfg.Store.Log(id))
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.locals[id] = l
	m.mu.Unlock()
	return l, nil
}

// sameStream empties a log that belongs to a stream of the same name which was
// deleted: the new one's epochs and offsets begin anew.
func (m *Manager) sameStream(id metadata.PartitionID, stream uint64) error {
	state, key := m.cfg.Store.State(), "stream/"+id.String()
	kept := state.Get(key)
	if len(kept) == 8 && binary.BigEndian.Uint64(kept) == stream {
		return nil
	}
	if log := m.cfg.Store.Log(id); len(kept) == 8 && log.EndOffset() > 0 {
		m.log.Warn("stream was deleted and made again: its old records here are given up", "partition", id, "records", log.EndOffset()-log.StartOffset())
		if _, err := m.cfg.Store.Commit(segstore.Entry{Log: log, Restart: true}); err != nil {
			return err
		}
		if err := state.PutSync(factsKey(id), facts{}.encode()); err != nil {
			return err
		}
	}
	return state.PutSync(key, binary.BigEndian.AppendUint64(nil, stream))
}

// followLeaders makes one fetcher for each gateway that leads something we
// follow, and lets all of them look again.
func (m *Manager) followLeaders() {
	for _, l := range m.all() {
		if leader, _, ok := l.nextFetch(); ok {
			m.fetcher(leader)
		}
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, f := range m.fetchers {
		f.interrupt()
	}
}

// followLate finds what could not be asked for when its role changed, since
// its journal was still writing, and nobody has asked for yet.
func (m *Manager) followLate() {
	for _, l := range m.all() {
		if leader, p, ok := l.nextFetch(); ok {
			if f := m.fetcher(leader); !f.knows(p) {
				f.interrupt()
			}
		}
	}
}

// fetcher returns the one that asks that gateway.
func (m *Manager) fetcher(leader metadata.NodeID) *fetcher {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.fetchers[leader]
	if f == nil {
		f = newFetcher(m, leader)
		m.fetchers[leader] = f
		if m.running != nil {
			m.startFetcher(f)
		}
	}
	return f
}

func (m *Manager) startFetcher(f *fetcher) {
	ctx := m.running
	m.wg.Go(func() { f.run(ctx) })
}

// Image returns the metadata applied last. Do not change it.
func (m *Manager) Image() *metadata.Image {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.image
}

func (m *Manager) local(id metadata.PartitionID) *local {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.locals[id]
}

// propose sends an ISR change to the controller and brings back the answer.
func (m *Manager) propose(l *local, a *metadata.AlterPartition) {
	m.background(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, alterTimeout)
		defer cancel()
		select {
		case m.alters <- struct{}{}:
			defer func() { <-m.alters }()
		case <-ctx.Done():
			l.altered(a, metadata.Result{}, ctx.Err())
			return
		}
		r, err := m.cfg.Controller.Propose(ctx, metadata.Change{At: time.Now().UnixMilli(), AlterPartition: a})
		m.counts.alters.Add(1)
		l.altered(a, r, err)
	})
}
