package quorum

import (
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

// elected waits for the first entry of a new leader. On a loaded machine it may
// step down at once, so others may elect another from then on.
func (s *site) elected(last uint64) {
	s.t.Helper()
	s.await("an election", func() bool {
		for _, n := range s.nodes {
			if n.q.raft.LastIndex() > last {
				return true
			}
		}
		return false
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
	old := s.leader()
	s.propose(old, putStream("kept"))
	last := s.nodes[old].q.raft.LastIndex()
	s.await("all have it", func() bool {
		for _, n := range s.nodes {
			if n.q.raft.LastIndex() < last {
				return false
			}
		}
		return true
	})
	s.patient(10 * patience)
	gone := s.nodes[old]
	gone.port.kill()
	delete(s.nodes, old)
	began := time.Now()
	for _, n := range s.nodes {
		n.q.Suspect(old)
	}
	s.elected(last)
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
	old := s.leader()
	s.propose(old, putStream("kept"))
	last := s.nodes[old].q.raft.LastIndex()
	s.patient(10 * patience)
	first := "g1"
	if old == first {
		first = "g2"
	}
	gone := []*node{s.nodes[old], s.nodes[first]}
	for _, n := range gone {
		n.port.kill()
		delete(s.nodes, n.name)
	}
	for _, n := range s.nodes {
		n.q.Suspect(old)
	}
	s.elected(last)
	for _, n := range gone {
		n.crash()
	}
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
