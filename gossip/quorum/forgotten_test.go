package quorum

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// silent is a future that raft forgot.
type silent chan struct{}

func (s silent) Error() error { <-s; return nil }

func TestNobodyIsBoundToAForgottenFuture(t *testing.T) {
	t.Parallel()
	forgotten := make(silent)
	defer close(forgotten)
	ask := func() raft.Future { return forgotten }
	q := &Quorum{ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := q.await(ctx, ask); !errors.Is(err, context.Canceled) {
		t.Errorf("its asker ended: %v", err)
	}
	close(q.ended)
	if err := q.await(context.Background(), ask); !errors.Is(err, raft.ErrRaftShutdown) {
		t.Errorf("raft ended: %v", err)
	}
}

// One of two gateways can't write: nothing is agreed on, the leader leads on, for it is
// answered. Its keeper ends all the same.
func TestKeeperEndsThoughNothingIsAgreedOn(t *testing.T) {
	t.Parallel()
	for range 10 {
		if keeperEnds(t) {
			return
		}
	}
	t.Error("no leader ever led on")
}

// keeperEnds returns false when the leader stepped down in between, as one may that
// the machine kept from hearing answers.
func keeperEnds(t *testing.T) bool {
	s := newSite(t, 2)
	s.start("a", "b")
	s.formed("a", "b")
	leader := s.nodes[s.leader()]
	for _, n := range s.nodes {
		if n != leader {
			n.q.store.db.Close() // writes fail from now on
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	before, term := leader.q.raft.LastIndex(), leader.q.raft.CurrentTerm()
	leads := func() bool { return leader.q.raft.State() == raft.Leader && leader.q.raft.CurrentTerm() == term }
	go func() { ended <- leader.q.change(ctx, step{add, Server{Name: "z", Address: "z:9000"}}) }()
	s.await("it is in the leader's log", func() bool { return leader.q.raft.LastIndex() > before || !leads() })
	select {
	case err := <-ended:
		if leads() {
			t.Fatalf("it was agreed on, or not: %v", err)
		}
	case <-time.After(2 * Wired().Lease):
	}
	if !leads() {
		return false
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the keeper waits for what can't be agreed on")
	}
	return true
}

// hold is a logger that keeps whoever says something from going on.
type hold struct {
	slog.Handler
	what       string
	once       sync.Once
	said, goOn chan struct{}
}

func (h *hold) Handle(_ context.Context, r slog.Record) error {
	if r.Message == h.what {
		h.once.Do(func() { close(h.said); <-h.goOn })
	}
	return nil
}

func (h *hold) Enabled(context.Context, slog.Level) bool { return true }

// nothing is a state machine.
type nothing struct{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nil, io.EOF }
func (nothing) Restore(r io.ReadCloser) error       { return r.Close() }

// A leader that was replaced while it slept, as one is that was stopped, learns it from
// an answer while more is on its way. It ends.
func TestReplacedLeaderEnds(t *testing.T) {
	t.Parallel()
	h := &hold{what: "raft: peer has newer term, stopping replication", said: make(chan struct{}), goOn: make(chan struct{})}
	net := newNetwork()
	open := func(name string, log *slog.Logger) (*Config, *transport) {
		port := net.listen(t, name, name+":9000")
		t.Cleanup(port.kill)
		c := &Config{Name: name, Address: name + ":9000", Port: port, PeerName: fakePeerName, Profile: Wired(), Logger: log}
		c.Profile.RPC = patience // answers are held back
		book := &addressBook{self: name, at: map[string]string{"a": "a:9000", "b": "b:9000"}}
		tr := newTransport(c, newStream(c), book)
		t.Cleanup(func() { tr.Close() })
		return c, tr
	}
	ca, ta := open("a", slog.New(h))
	_, tb := open("b", slog.New(slog.DiscardHandler))

	logs, snaps := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	config := raftConfig(ca)
	config.PreVoteDisabled = true
	both := configurationOf([]Server{{Name: "a", Address: "a:9000", Voter: true}, {Name: "b", Address: "b:9000", Voter: true}})
	if err := raft.BootstrapCluster(config, logs, logs, snaps, ta, both); err != nil {
		t.Fatal(err)
	}
	r, err := raft.NewRaft(config, nothing{}, logs, logs, snaps, ta)
	if err != nil {
		t.Fatal(err)
	}
	ta.start(func(string) bool { return true })

	// b is a script: it agrees to all, until it holds its answers back, and then has
	// another leader.
	var mu sync.Mutex
	holding, late := false, make(chan raft.RPC, 100)
	quit := make(chan struct{})
	defer close(quit)
	answer := func(rpc raft.RPC, newer uint64) {
		head := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}
		switch c := rpc.Command.(type) {
		case *raft.RequestVoteRequest:
			rpc.Respond(&raft.RequestVoteResponse{RPCHeader: head, Term: c.Term, Granted: true}, nil)
		case *raft.AppendEntriesRequest:
			rpc.Respond(&raft.AppendEntriesResponse{RPCHeader: head, Term: c.Term + newer, LastLog: c.PrevLogEntry, Success: newer == 0}, nil)
		}
	}
	go func() {
		for {
			select {
			case rpc := <-tb.NetworkTransport.Consumer():
				mu.Lock()
				hold := holding
				mu.Unlock()
				if c, ok := rpc.Command.(*raft.AppendEntriesRequest); ok && hold && len(c.Entries) > 0 {
					late <- rpc
					continue
				}
				answer(rpc, 0)
			case <-quit:
				return
			}
		}
	}()
	for end := time.Now().Add(patience); r.Apply(nil, time.Second).Error() != nil; {
		if time.Now().After(end) {
			t.Fatal("nobody leads")
		}
		time.Sleep(time.Millisecond)
	}
	r.Apply(nil, time.Second).Error() // from now on there could be several at once

	mu.Lock()
	holding = true
	mu.Unlock()
	var first raft.RPC
	for end := time.Now().Add(patience); first.Command == nil; {
		r.Apply([]byte("first"), time.Second)
		select {
		case first = <-late:
		case <-time.After(time.Second): // it was not leader just then
			if time.Now().After(end) {
				t.Fatal("nothing is sent")
			}
		}
	}
	for range 2 { // the second is sent, or would be, the third waits
		r.Apply([]byte("more"), time.Second)
		time.Sleep(20 * time.Millisecond)
	}
	answer(first, 1)
	<-h.said
	time.Sleep(50 * time.Millisecond) // the third is sent, or would be
	close(h.goOn)
	go func() {
		for {
			select {
			case rpc := <-late:
				answer(rpc, 1)
			case <-quit:
				return
			}
		}
	}()
	time.Sleep(20 * time.Millisecond)

	stopping, ended := r.Shutdown(), make(chan struct{})
	ta.Close()
	go func() { stopping.Error(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Errorf("raft does not end:\n%s", goroutines())
	}
}
