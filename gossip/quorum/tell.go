package quorum

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// teller lets followers know at once what is committed. Raft tells them with
// its next message, which on a quiet site is a Profile.Commit away; and asking
// raft for more frequent messages costs more than everything else on an idle
// gateway.
//
// What it sends is what raft itself would: an AppendEntries without entries. A
// follower without which there was a majority may not have the entry yet, and
// refuses; it is told again a moment later. Beyond that it does not matter
// whether the message arrives.
type teller struct {
	q     *Quorum
	event chan struct{}

	mu   sync.Mutex
	last entryID         // committed, to be told
	busy map[string]bool // peers that are being told
}

type entryID struct{ index, term uint64 }

func newTeller(q *Quorum) *teller {
	return &teller{q: q, event: make(chan struct{}, 1), busy: map[string]bool{}}
}

// committed is called when an entry was applied here; it does not block.
func (t *teller) committed(l *raft.Log) {
	t.mu.Lock()
	t.last = entryID{l.Index, l.Term}
	t.mu.Unlock()
	select {
	case t.event <- struct{}{}:
	default:
	}
}

// run tells until ctx ends.
func (t *teller) run(ctx context.Context) {
	for {
		select {
		case <-t.event:
		case <-ctx.Done():
			return
		}
		if t.q.raft.State() != raft.Leader {
			continue
		}
		for _, s := range t.q.Servers() {
			if s.Name != t.q.c.Name && t.begin(s.Name) {
				if !t.q.tasks.spawn(func() { t.tell(s) }) {
					return
				}
			}
		}
	}
}

func (t *teller) begin(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[name] {
		return false // it is told of the latest when that is done
	}
	t.busy[name] = true
	return true
}

// tell sends one message, and more while there is more to say.
func (t *teller) tell(to Server) {
	refusals := 0
	for told := (entryID{}); ; {
		t.mu.Lock()
		next := t.last
		if next == told || !t.leads(next.term) {
			delete(t.busy, to.Name)
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		trans, id := t.q.trans, raft.ServerID(to.Name)
		self := trans.EncodePeer(raft.ServerID(t.q.c.Name), trans.LocalAddr())
		request := raft.AppendEntriesRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(t.q.c.Name), Addr: self},
			Term:      next.term, PrevLogEntry: next.index, PrevLogTerm: next.term, LeaderCommitIndex: next.index}
		var response raft.AppendEntriesResponse
		addr := raft.ServerAddress(joinPeer(to.Name, to.Address))
		err := trans.AppendEntries(id, addr, &request, &response)
		switch {
		case err != nil:
			next = t.latest() // raft's own messages bring it
		case !response.Success && refusals < tellAgainMax && t.pause(tellAgain<<refusals):
			refusals++
			continue
		}
		told, refusals = next, 0
	}
}

// A follower that refuses is told again after tellAgain, then after twice that,
// and so on.
const (
	tellAgain    = 2 * time.Millisecond
	tellAgainMax = 8
)

// pause reports false when this gateway stops meanwhile.
func (t *teller) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.q.stopped:
		return false
	}
}

func (t *teller) latest() entryID {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// leads reports whether this gateway is the raft leader of that term, in which an
// entry of its log was made. The order of the two looks matters: the term only
// rises, and never while this gateway leads.
func (t *teller) leads(term uint64) bool {
	return t.q.raft.State() == raft.Leader && t.q.raft.CurrentTerm() == term
}
