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
// split the vote; the next one stands only when it has not voted for one before it.
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
	rank := q.rank(name)
	if _, leader := r.LeaderWithID(); rank < 0 || leader != "" && string(leader) != name {
		return
	}
	select {
	case <-time.After(time.Duration(rank) * q.c.Profile.Rank):
	case <-q.stopped:
		return
	}
	if !q.mayStand(r, name) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), q.c.Profile.Heartbeat)
	defer cancel()
	q.c.Logger.Info("the raft leader is gone, standing for election", "leader", name, "term", r.CurrentTerm())
	if err := q.trans.stand(ctx); err != nil {
		q.c.Logger.Warn("could not stand for election", "error", err)
	}
}

// mayStand reports that nobody is about to lead in place of name. One that stands and
// has less in its log than this gateway was refused here, and may be refused by all:
// that is then no reason to wait.
func (q *Quorum) mayStand(r *raft.Raft, name string) bool {
	_, leader := r.LeaderWithID()
	switch {
	case r.State() != raft.Follower:
		return false
	case leader != "":
		return string(leader) == name
	}
	voted, err := q.store.GetUint64(keyLastVoteTerm)
	return err == nil && voted < r.CurrentTerm()
}

// keyLastVoteTerm is where raft keeps the term in which this gateway voted last.
var keyLastVoteTerm = []byte("LastVoteTerm")

// rank is this gateway's place among the voters that are left, -1 when it does
// not vote.
func (q *Quorum) rank(gone string) int {
	voters := votersOf(q.Servers())
	slices.Sort(voters)
	voters = slices.DeleteFunc(voters, func(v string) bool { return v == gone })
	return slices.Index(voters, q.c.Name)
}
