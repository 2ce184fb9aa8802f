package quorum

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"cistern/gossip/metadata"
)

// Quorum is this gateway's part in the site's agreement. All methods may be
// called from any goroutine.
type Quorum struct {
	c       Config
	store   *store
	machine *machine
	watch   watchers
	book    *addressBook
	promise promiseKeeper

	started chan struct{} // closed when raft is set and running
	stopped chan struct{} // closed when Run begins to stop
	ended   chan struct{} // closed when Run ends: what raft has not answered it never will
	raft    *raft.Raft    // read it through running
	trans   *transport
	client  *client
	teller  *teller

	proposals  chan struct{} // a slot for each change under way
	suspecting atomic.Bool
	conflict   atomic.Pointer[string]
	removed    atomic.Bool
	tasks      tasks
}

// Open opens or makes the store in Config.Dir, and checks all that is in it.
// Nothing runs before Run, which also closes the store.
func Open(c Config) (*Quorum, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	s, err := openStore(c.Dir)
	if err != nil {
		return nil, err
	}
	q := &Quorum{c: c, store: s, book: &addressBook{self: c.Name, at: map[string]string{}},
		started: make(chan struct{}), stopped: make(chan struct{}), ended: make(chan struct{}), proposals: make(chan struct{}, proposalsMax)}
	q.book.servers = q.Servers
	q.machine = newMachine(s, &q.watch, c.Logger)
	if err := errors.Join(q.machine.load(snapshots{s}), q.promise.load(s)); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", c.Dir, err), s.close())
	}
	q.client, q.teller = newClient(&q.c, q.book), newTeller(q)
	q.machine.applied = q.teller.committed
	return q, nil
}

// load takes the newest snapshot, so that there is an image before raft runs,
// and Open can say that it can't be read.
func (m *machine) load(s snapshots) error {
	b, err := s.Get(keySite)
	if err != nil {
		return err
	}
	if site := string(b); site != "" {
		m.site.Store(&site)
	}
	list, err := s.List()
	if err != nil || len(list) == 0 {
		return err
	}
	_, r, err := s.Open(list[0].ID)
	if err != nil {
		return err
	}
	return m.Restore(r)
}

// Run takes part until ctx ends. A raft leader hands over first, within
// limits. When Run returns nothing of the quorum is left running, save who waits for
// what raft forgot, and the file is closed; unless it returns ErrNotEnded.
func (q *Quorum) Run(ctx context.Context) error {
	err := q.start()
	if err != nil {
		close(q.stopped)
		return errors.Join(err, q.store.close())
	}
	defer close(q.ended)
	serving, stopServing := context.WithCancel(context.Background())
	q.tasks.spawn(func() { q.follow(serving) })
	q.tasks.spawn(func() { q.serve(serving) })
	q.tasks.spawn(func() { q.teller.run(serving) })
	close(q.started)

	<-ctx.Done()
	close(q.stopped)
	began := time.Now()
	q.handOver()
	q.settle(began.Add(q.c.stop.settle))
	stopServing()
	ended := make(chan error, 1)
	go func() { ended <- q.end() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(time.Until(began.Add(q.c.stop.end))):
		q.c.Logger.Warn("raft does not end; it is left to the end of the process", "where", goroutines())
		return ErrNotEnded
	}
}

// end ends raft and all that is around it.
func (q *Quorum) end() error {
	stopping := q.raft.Shutdown()
	err := q.trans.Close() // first: nobody hears what raft still has to say
	q.store.giveUp()
	err = errors.Join(err, stopping.Error())
	q.client.close()
	q.tasks.wait()
	q.watch.wake()
	return errors.Join(err, q.store.close())
}

// stacksMax bounds what is reported of them, in bytes.
const stacksMax = 32 << 10

// goroutines are the stacks of raft and of this package, to be reported.
func goroutines() string {
	b := make([]byte, 1<<20)
	var ours []string
	for stack := range strings.SplitSeq(string(b[:runtime.Stack(b, true)]), "\n\n") {
		if strings.Contains(stack, "/quorum.") || strings.Contains(stack, "hashicorp/raft") {
			ours = append(ours, stack)
		}
	}
	text := strings.Join(ours, "\n\n")
	return text[:min(len(text), stacksMax)]
}

func (q *Quorum) start() error {
	q.trans = newTransport(&q.c, newStream(&q.c), q.book)
	cache, err := raft.NewLogCache(logCache, q.store)
	if err != nil {
		return err
	}
	r, err := raft.NewRaft(raftConfig(&q.c), q.machine, monotonic{cache}, q.store, snapshots{q.store}, q.trans)
	if err != nil {
		return fmt.Errorf("start raft: %w", errors.Join(err, q.trans.Close()))
	}
	q.raft = r
	q.trans.start(q.mayVote)
	return nil
}

// monotonic says for the cache what is true of the store below it.
type monotonic struct{ *raft.LogCache }

// IsMonotonic implements raft.MonotonicLogStore.
func (monotonic) IsMonotonic() bool { return true }

func raftConfig(c *Config) *raft.Config {
	r := raft.DefaultConfig()
	r.LocalID = raft.ServerID(c.Name)
	r.HeartbeatTimeout, r.ElectionTimeout = c.Profile.Heartbeat, c.Profile.Election
	r.LeaderLeaseTimeout, r.CommitTimeout = c.Profile.Lease, c.Profile.Commit
	r.TrailingLogs, r.SnapshotThreshold, r.SnapshotInterval = trailingLogs, snapshotEvery, 30*time.Second
	r.ShutdownOnRemove = false // whoever is removed may be told to join again
	r.NoLegacyTelemetry = true
	r.Logger = newRaftLog(c.Logger)
	return r
}

// follow wakes whoever watches when the raft leader changes.
func (q *Quorum) follow(ctx context.Context) {
	events := make(chan raft.Observation, 16)
	o := raft.NewObserver(events, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	q.raft.RegisterObserver(o)
	defer q.raft.DeregisterObserver(o)
	for {
		q.watch.wake()
		select {
		case <-events:
		case <-ctx.Done():
			return
		}
	}
}

// handOver moves raft leadership to another voter before this one goes.
func (q *Quorum) handOver() {
	if q.raft.State() != raft.Leader || len(votersOf(q.Servers())) < 2 {
		return
	}
	moved := q.raft.LeadershipTransfer()
	ctx, cancel := context.WithTimeout(context.Background(), q.c.stop.handOver)
	defer cancel()
	if err := q.await(ctx, func() raft.Future { return moved }); err != nil {
		q.c.Logger.Warn("raft leadership was not handed over", "error", err)
	}
}

// await waits for a future of raft's until ctx or Run ends. Raft forgets some when it
// is shut down (1.8): changes that lie between its main loop and the state machine (runFSM), and
// an order to hand over that lies before the main loop. Others come only when a
// majority can write again. So no task is bound to one.
func (q *Quorum) await(ctx context.Context, ask func() raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- ask().Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-q.ended:
		return raft.ErrRaftShutdown
	}
}

// settle waits until no change is under way here, and lets none begin any more: when
// raft is shut down it forgets some (await), and nobody would learn their fate.
func (q *Quorum) settle(limit time.Time) {
	late := time.After(time.Until(limit))
	for range cap(q.proposals) {
		select {
		case q.proposals <- struct{}{}: // kept
		case <-late:
			return
		}
	}
}

// running returns raft once Run has begun.
func (q *Quorum) running() (*raft.Raft, bool) {
	select {
	case <-q.started:
		return q.raft, true
	default:
		return nil, false
	}
}

// Image returns what the site has agreed on, as far as this gateway knows.
func (q *Quorum) Image() *metadata.Image { return q.machine.image.Load() }

// Site returns the random id of the site that this gateway is of, "" before it
// is of one. Unlike Image().Site it is known from Open on; it belongs in
// gossip.Meta.Formed.
func (q *Quorum) Site() string { return text(q.machine.site.Load()) }

// Watch returns a channel that gets a value after each new image or raft
// leader, and a function that ends it.
func (q *Quorum) Watch() (<-chan struct{}, func()) { return q.watch.watch() }

// Leader returns the name of the raft leader, "" when none is known, and
// whether it is this gateway.
func (q *Quorum) Leader() (name string, self bool) {
	r, ok := q.running()
	if !ok {
		return "", false
	}
	if r.State() == raft.Leader {
		return q.c.Name, true
	}
	_, id := r.LeaderWithID()
	return string(id), false
}

// Bootstrapped reports whether this gateway has ever been part of a site.
func (q *Quorum) Bootstrapped() bool {
	if r, ok := q.running(); ok {
		return r.LastIndex() > 0
	}
	last, err := q.store.LastIndex()
	return last > 0 || err != nil || q.Image().Index > 0
}

// Servers returns the gateways that take part, in raft's order.
func (q *Quorum) Servers() []Server {
	r, ok := q.running()
	if !ok {
		return nil
	}
	f := r.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return serversOf(f.Configuration())
}

// Learn says where a gateway is now. Raft uses it at once, whatever address is
// in its configuration.
func (q *Quorum) Learn(name, address string) { q.book.learn(name, address) }

func votersOf(servers []Server) (names []string) {
	for _, s := range servers {
		if s.Voter {
			names = append(names, s.Name)
		}
	}
	return names
}

// tasks are the goroutines of a quorum; none begins once it waits for them.
type tasks struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

func (t *tasks) spawn(fn func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.wg.Go(fn)
	}
	return !t.closed
}

func (t *tasks) wait() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.wg.Wait()
}
