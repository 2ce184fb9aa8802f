package quorum

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/vmihailenco/msgpack/v5"

	"cistern/gossip/metadata"
)

// promise is to which site a gateway without one will belong. It is durable
// before it is given, so two sites that form at the same time have no gateway
// in common, whatever each of them sees.
type promise struct {
	Inviter string   `msgpack:"by"`
	Members []string `msgpack:"with"`
	// Agreed are those of Members that gave theirs so far. A promise to one
	// of them is void: it will not invite any more.
	Agreed []string `msgpack:"agreed,omitempty"`
}

// promiseKeeper holds the promise of this gateway.
type promiseKeeper struct {
	mu    sync.Mutex
	store *store
	given *promise
}

var keyPromise = []byte("cistern-promise")

func (k *promiseKeeper) load(s *store) error {
	k.store = s
	b, err := s.Get(keyPromise)
	if err != nil || b == nil {
		return err
	}
	p := new(promise)
	if err := msgpack.Unmarshal(b, p); err != nil {
		return fmt.Errorf("promise: %w: %w", err, errDamaged)
	}
	k.given = p
	return nil
}

// give promises p unless another promise stands.
func (k *promiseKeeper) give(p *promise) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if g := k.given; g != nil {
		if g.Inviter != p.Inviter && !slices.Contains(p.Agreed, g.Inviter) {
			return fmt.Errorf("promised to form a site with %v, invited by %s", g.Members, g.Inviter)
		}
		if g.Inviter == p.Inviter && slices.Equal(g.Members, p.Members) {
			return nil
		}
	}
	given := &promise{Inviter: p.Inviter, Members: p.Members}
	b, err := msgpack.Marshal(given)
	if err != nil {
		return err
	}
	if err := k.store.Set(keyPromise, b); err != nil {
		return err
	}
	k.given = given
	return nil
}

// with reports whether a promise was given to form a site with that gateway.
func (k *promiseKeeper) with(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.given != nil && slices.Contains(k.given.Members, name)
}

// accept answers an invitation.
func (q *Quorum) accept(p *promise) error {
	switch {
	case p == nil || p.Inviter == "" || len(p.Members) > metadata.MembersMax:
		return errors.New("no proper invitation")
	case !slices.Contains(p.Members, q.c.Name):
		return fmt.Errorf("this is %s, which is not invited", q.c.Name)
	case q.Bootstrapped():
		return errors.New("belongs to a site")
	}
	return q.promise.give(p)
}

// mayVote reports whether this gateway may vote for another: with a log of its
// own always, raft compares the two.
func (q *Quorum) mayVote(candidate string) bool {
	return q.raft.LastIndex() > 0 || q.promise.with(candidate)
}
