package quorum

import (
	"maps"
	"slices"
	"testing"
	"time"
)

// patient makes raft wait that long for a leader's heartbeat. With more than the
// test takes only what is told brings an election.
func (s *site) patient(d time.Duration) {
	for _, n := range s.nodes {
		c := n.q.raft.ReloadableConfig()
		c.HeartbeatTimeout, c.ElectionTimeout = d, d
		if err := n.q.raft.ReloadConfig(c); err != nil {
			s.t.Fatal(err)
		}
	}
}

// quiet is patient while all follow one leader, and returns it: an election that was
// under way would leave somebody without one, for ever.
func (s *site) quiet() (leader string) {
	s.t.Helper()
	for limit := time.Now().Add(patience); time.Now().Before(limit); s.patient(Wired().Heartbeat) {
		leader = s.leader()
		s.patient(10 * patience)
		follow := func(n *node) bool { l, _ := n.q.Leader(); return n.name == leader || l == leader }
		if !slices.ContainsFunc(slices.Collect(maps.Values(s.nodes)), func(n *node) bool { return !follow(n) }) {
			return leader
		}
	}
	s.t.Fatal("elections all the time")
	return ""
}

// suspected has everybody suspect the gateway until one stands for election: nothing
// else brings one by now. Whether that one is elected, and leads on, is up to the
// machine; somebody is, once all are as impatient as ever.
func (s *site) suspected(old string, term uint64) {
	s.t.Helper()
	s.await("an election", func() bool {
		for _, n := range s.nodes {
			n.q.Suspect(old)
		}
		return s.term() > term
	})
	s.patient(Wired().Heartbeat)
	s.propose(s.leader(), putStream("after"))
}

func TestSuspectFindsASuccessor(t *testing.T) {
	t.Parallel()
	s := newSite(t, 5)
	s.rank = time.Second // a split vote would last
	s.start(names(5)...)
	s.formed(names(5)...)
	s.propose("g1", putStream("kept"))
	old := s.quiet()
	gone := s.nodes[old]
	gone.port.kill()
	delete(s.nodes, old)
	began := time.Now()
	s.suspected(old, s.term())
	t.Logf("after %v", time.Since(began).Round(time.Millisecond))
	gone.crash()
}

// The first in line is gone as well: the next one stands in its place.
func TestSuspectWhenTheFirstInLineIsGone(t *testing.T) {
	t.Parallel()
	s := newSite(t, 5)
	s.rank = time.Second // a split vote would last
	s.start(names(5)...)
	s.formed(names(5)...)
	s.propose("g1", putStream("kept"))
	old, first := s.quiet(), "g1"
	if old == first {
		first = "g2"
	}
	gone := []*node{s.nodes[old], s.nodes[first]}
	for _, n := range gone {
		n.port.kill()
		delete(s.nodes, n.name)
	}
	s.suspected(old, s.term())
	for _, n := range gone {
		n.crash()
	}
}

// The first in line has less in its log than the next, who refuses it: the next one
// stands all the same.
func TestSuspectWhenTheFirstInLineIsBehind(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.rank = 5 * time.Second // a split vote would last
	s.start(names(3)...)
	s.formed(names(3)...)
	old := s.quiet()
	line := slices.DeleteFunc(names(3), func(n string) bool { return n == old })
	s.net.isolate(line[0], true)
	s.propose(old, putStream("missed"))
	gone := s.nodes[old]
	gone.port.kill()
	delete(s.nodes, old)
	s.net.isolate(line[0], false)
	for _, n := range line {
		s.nodes[n].q.Suspect(old)
	}
	if next := s.leader(); next != line[1] {
		t.Errorf("%s leads, and has less than %s", next, line[1])
	}
	gone.crash()
}

// Without a word the next leader comes after the heartbeat timeout.
func TestSilentLeaderIsReplaced(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.start(names(3)...)
	s.formed(names(3)...)
	old := s.leader()
	gone := s.nodes[old]
	gone.port.kill()
	delete(s.nodes, old)
	began := time.Now()
	next := s.leader()
	t.Logf("%s follows %s after %v", next, old, time.Since(began).Round(time.Millisecond))
	gone.crash()
}

// Being wrong about a leader costs an election and nothing else.
func TestSuspectWrongly(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.start(names(3)...)
	s.formed(names(3)...)
	old := s.leader()
	term := s.nodes[old].q.Status().Term
	s.await("an election", func() bool {
		for _, n := range s.nodes {
			n.q.Suspect(old) // a heartbeat of the living leader may put it off
		}
		return s.nodes[old].q.Status().Term > term
	})
	s.leader()
	s.propose(old, putStream("after"))
}
