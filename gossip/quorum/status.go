package quorum

import "github.com/hashicorp/raft"

// Status is what an operator may want to know about this gateway's quorum.
type Status struct {
	State       string // "follower", "candidate", "leader"; "unformed" before a site, "stopped" when not running
	Leader      string // name of the raft leader, "" when none is known
	Term        uint64
	LastIndex   uint64 // of the raft log
	CommitIndex uint64
	Applied     uint64 // raft index up to which the image is
	ImageIndex  uint64 // of the last change in the image
	Site        string
	Voter       bool     // this gateway votes
	Servers     []Server // in raft's order
	Proposals   int      // changes under way here
	Refused     int64    // changes that no gateway understood
	Behind      string   // why this gateway's image stands still, "" when it doesn't
	Failure     string   // why raft.db can't be written, "" when it can
	Conflict    string   // which sites gossip shows besides this one, "" when none
}

// Status returns what is true now.
func (q *Quorum) Status() Status {
	img := q.Image()
	s := Status{State: "stopped", ImageIndex: img.Index, Site: q.Site(), Proposals: len(q.proposals), Refused: q.machine.refused.Load(),
		Behind: text(q.machine.behind.Load()), Conflict: text(q.conflict.Load()), Failure: text(q.store.failure.Load())}
	r, ok := q.running()
	if !ok {
		return s
	}
	s.Leader, _ = q.Leader()
	s.Term, s.LastIndex, s.CommitIndex, s.Applied = r.CurrentTerm(), r.LastIndex(), r.CommitIndex(), r.AppliedIndex()
	s.Servers = q.Servers()
	for _, x := range s.Servers {
		s.Voter = s.Voter || x.Voter && x.Name == q.c.Name
	}
	switch r.State() {
	case raft.Leader:
		s.State = "leader"
	case raft.Candidate:
		s.State = "candidate"
	case raft.Follower:
		s.State = "follower"
		if s.LastIndex == 0 {
			s.State = "unformed"
		}
	}
	return s
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
