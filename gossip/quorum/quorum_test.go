package quorum

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cistern/gossip"
)

func names(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("g%d", i+1))
	}
	return list
}

func TestSitesForm(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 7} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, n)
			s.start(names(n)...)
			s.formed(names(n)...)
			voters := len(votersOf(s.nodes["g1"].q.Servers()))
			if want := min(n, 5); voters != want {
				t.Errorf("%d gateways have %d voters, want %d", n, voters, want)
			}
			var wg sync.WaitGroup
			for _, name := range names(n) {
				wg.Go(func() { s.propose(name, putStream("by-"+name)) })
			}
			wg.Wait()
			for _, name := range names(n) {
				s.await("every stream at "+name, func() bool { return len(s.nodes[name].q.Image().Streams) == n })
			}
		})
	}
}

func TestLeaderDies(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.start("a", "b", "c")
	s.formed("a", "b", "c")
	for i := range 20 {
		s.propose("a", putStream(fmt.Sprint("s", i)))
	}
	old := s.leader()
	s.nodes[old].crash()
	dead := s.nodes[old]
	delete(s.nodes, old)
	s.set(old, func(m *gossip.Member) { m.State = gossip.Dead })
	next := s.leader()
	if next == old {
		t.Fatalf("the dead %s leads", old)
	}
	s.propose(next, putStream("after"))
	for name := range s.nodes {
		s.await("all that was agreed on at "+name, func() bool { return len(s.nodes[name].q.Image().Streams) == 21 })
		s.await("the dead one is fenced at "+name, func() bool { m, _ := s.nodes[name].q.Image().Member(old); return m.Fenced })
	}
	s.boot(old, dead.addr, dead.dir)
	s.await("it is back and not fenced", func() bool {
		m, _ := s.nodes[old].q.Image().Member(old)
		return s.hasStream(old, "after") && !m.Fenced
	})
}

func TestAllRestartFromDisk(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.start("a", "b", "c")
	s.formed("a", "b", "c")
	s.propose("b", putStream("kept"))
	id := s.nodes["a"].q.Image().Site
	old := s.nodes
	for _, n := range old {
		n.crash()
	}
	for name, n := range old {
		s.boot(name, n.addr, n.dir)
	}
	s.leader()
	for name := range s.nodes {
		s.await("the stream at "+name, func() bool { return s.hasStream(name, "kept") && s.nodes[name].q.Image().Site == id })
	}
}

// A follower's image does not wait for raft's next message.
func TestFollowersLearnAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.commit = 10 * patience
	s.start("a", "b", "c")
	s.formed("a", "b", "c")
	elections := 0 // between commit and telling nobody knows what to tell
	for i := 0; i < 20+elections; i++ {
		name, term := fmt.Sprint("s", i), s.term()
		r := s.propose("b", putStream(name))
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		for on, n := range s.nodes {
			err := n.q.WaitIndex(ctx, r.Index)
			switch {
			case err == nil && s.hasStream(on, name):
			case s.term() > term && elections < 5:
				elections++
			default:
				t.Fatalf("%s: %v", on, err)
			}
		}
		cancel()
	}
}

func TestMinorityAgreesOnNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.start("a", "b", "c")
	s.formed("a", "b", "c")
	old := s.leader()
	s.net.isolate(old, true)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := s.nodes[old].q.Propose(ctx, putStream("lost"))
	if !errors.Is(err, ErrUnknownFate) && !errors.Is(err, ErrNoLeader) {
		t.Errorf("cut off from the majority: %v", err)
	}
	var rest []string
	for name := range s.nodes {
		if name != old {
			rest = append(rest, name)
		}
	}
	s.leader(rest...)
	s.propose(rest[0], putStream("kept"))
	s.net.isolate(old, false)
	s.await("the one that was cut off catches up", func() bool { return s.hasStream(old, "kept") })
	if s.hasStream(old, "lost") != s.hasStream(rest[0], "lost") {
		s.await("both agree about the other stream", func() bool { return s.hasStream(old, "lost") == s.hasStream(rest[0], "lost") })
	}
}

func TestLateJoinerGetsSnapshot(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.start("a")
	s.formed("a")
	q := s.nodes["a"].q
	for i := range 30 {
		s.propose("a", putStream(fmt.Sprint("s", i)))
	}
	rc := q.raft.ReloadableConfig()
	rc.TrailingLogs = 2
	if err := q.raft.ReloadConfig(rc); err != nil {
		t.Fatal(err)
	}
	if err := q.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	if first, _ := q.store.FirstIndex(); first < 20 {
		t.Fatalf("the log begins at %d: no snapshot would be needed", first)
	}
	s.start("b")
	s.formed("a", "b")
	s.await("the whole image at b", func() bool { return len(s.nodes["b"].q.Image().Streams) == 30 })
	s.await("b votes", func() bool { return len(votersOf(q.Servers())) == 2 })
	old := s.nodes["b"]
	old.stop()
	s.boot("b", old.addr, old.dir)
	s.await("b again, from its snapshot", func() bool { return len(s.nodes["b"].q.Image().Streams) == 30 })
}

// A gateway comes back where another one was, and that one somewhere else.
func TestAddressesSwap(t *testing.T) {
	if underRace {
		t.Skip("a race of hashicorp/raft's own")
	}
	t.Parallel()
	s := newSite(t, 3)
	s.start("a", "b", "c")
	s.formed("a", "b", "c")
	b, c := s.nodes["b"], s.nodes["c"]
	b.stop()
	c.stop()
	s.boot("b", c.addr, b.dir)
	s.boot("c", b.addr, c.dir)
	s.leader()
	s.propose("a", putStream("after"))
	s.await("all three have it", func() bool {
		return s.hasStream("a", "after") && s.hasStream("b", "after") && s.hasStream("c", "after")
	})
	s.await("raft knows", func() bool {
		for _, x := range s.nodes["a"].q.Servers() {
			if x.Address != s.nodes[x.Name].addr {
				return false
			}
		}
		return true
	})
}

// A stop waits for changes that the state machine has not seen yet: raft would
// never tell what became of them.
func TestStopSettles(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	var slow atomic.Bool
	free := make(chan struct{})
	s.applying = func() {
		if slow.Load() {
			<-free
		}
	}
	s.start("a")
	s.formed("a")
	n := s.nodes["a"]
	s.await("it is registered", func() bool { m, ok := n.q.Image().Member("a"); return ok && m.Incarnation > 0 })
	slow.Store(true)
	const changes = 30 // one after the other, so that raft does not hand them on as one
	var proposing sync.WaitGroup
	for i := range changes {
		before := n.q.raft.LastIndex()
		proposing.Go(func() { n.q.Propose(context.Background(), putStream(fmt.Sprintf("s%d", i))) })
		s.await("the change is in the log", func() bool { return n.q.raft.LastIndex() > before })
	}
	stopped := make(chan struct{})
	go func() { n.stop(); close(stopped) }()
	select {
	case <-time.After(200 * time.Millisecond): // whatever does not wait is over by now
	case <-stopped:
		t.Error("it stopped while changes were under way")
	}
	close(free)
	select {
	case <-stopped:
	case <-time.After(patience):
		b := make([]byte, 1<<20)
		t.Fatalf("it does not stop:\n%s", b[:runtime.Stack(b, true)])
	}
	proposing.Wait()
}

// What raft has forgotten holds up no stop: the process is to end, and all that was
// agreed on is on flash.
func TestStopWaitsForNobodyForEver(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.stop = stopLimits{handOver: 100 * time.Millisecond, settle: 200 * time.Millisecond, end: 300 * time.Millisecond}
	s.start("a")
	s.formed("a")
	n := s.nodes["a"]
	forgotten, ended := make(chan struct{}), make(chan struct{})
	n.q.tasks.spawn(func() { <-forgotten; close(ended) })
	stopped := make(chan struct{})
	go func() { n.stop(); close(stopped) }()
	select {
	case <-stopped:
		if !errors.Is(n.err, ErrNotEnded) {
			t.Errorf("run: %v", n.err)
		}
	case <-time.After(patience):
		t.Error("it does not stop")
	}
	close(forgotten)
	<-ended
	<-stopped
}

func TestCleanStopHandsOver(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.start("a", "b", "c")
	s.formed("a", "b", "c")
	old := s.leader()
	s.set(old, func(m *gossip.Member) { m.Meta.Leaving = true })
	s.await("it is fenced before it goes", func() bool { m, _ := s.nodes["a"].q.Image().Member(old); return m.Fenced })
	term := s.nodes[old].q.Status().Term
	n := s.nodes[old]
	n.stop()
	delete(s.nodes, old)
	if n.err != nil {
		t.Errorf("run: %v", n.err)
	}
	next := s.leader()
	if now := s.nodes[next].q.Status().Term; now != term+1 {
		t.Logf("it took %d elections", now-term) // on a slow machine one may fail
	}
	if _, err := n.q.Propose(context.Background(), putStream("x")); err == nil {
		t.Error("a stopped quorum took a change")
	}
}
