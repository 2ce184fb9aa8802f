package quorum

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// Suspect says that the process of a gateway is known to be gone. If it is the
// raft leader, a successor is sought now and not after Profile.Heartbeat of
// silence. Being wrong costs an election, nothing else. It does not block.
//
// Raft voters do not vote, not even beforehand, while they know a leader, and
// there is no way to make them forget it. So the candidate does what a leader
// does that hands over: it stands with the mark that makes others vote all the
// same. They stand in order of name, Profile.Rank apart, so that they do not
// split the vote; the next one stands only when there was no election yet.
func (q *Quorum) Suspect(name string) {
	r, ok := q.running()
	if !ok || name == q.c.Name || !q.suspecting.CompareAndSwap(false, true) {
		return
	}
	q.tasks.spawn(func() {
		defer q.suspecting.Store(false)
		q.succeed(r, name)
	})
}

// succeed stands for election in place of name, if it is this gateway's turn.
func (q *Quorum) succeed(r *raft.Raft, name string) {
	term := r.CurrentTerm()
	rank := q.rank(name)
	if rank < 0 || !q.stillLeads(r, name, term) {
		return
	}
	changed, end := q.Watch()
	defer end()
	turn := time.After(time.Duration(rank) * q.c.Profile.Rank)
	for waiting := true; waiting; {
		select {
		case <-turn:
			waiting = false
		case <-changed:
		case <-q.stopped:
			return
		}
		if !q.stillLeads(r, name, term) {
			return
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), q.c.Profile.Heartbeat)
	defer cancel()
	q.c.Logger.Info("the raft leader is gone, standing for election", "leader", name, "term", term)
	if err := q.trans.stand(ctx); err != nil {
		q.c.Logger.Warn("could not stand for election", "error", err)
	}
}

// stillLeads reports that nobody has begun an election since.
func (q *Quorum) stillLeads(r *raft.Raft, name string, term uint64) bool {
	_, leader := r.LeaderWithID()
	return r.State() == raft.Follower && string(leader) == name && r.CurrentTerm() == term
}

// rank is this gateway's place among the voters that are left, -1 when it does
// not vote.
func (q *Quorum) rank(gone string) int {
	voters := votersOf(q.Servers())
	slices.Sort(voters)
	voters = slices.DeleteFunc(voters, func(v string) bool { return v == gone })
	return slices.Index(voters, q.c.Name)
}
