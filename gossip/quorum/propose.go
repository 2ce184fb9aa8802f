package quorum

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"cistern/gossip/metadata"
)

// Propose asks the site to agree on a change, through the raft leader wherever
// it is. A change that was agreed on but refused has its reason in Result.Err.
// An error is ErrUnknownFate, or says that the change was certainly not made.
// Propose tries until ctx ends, but only as long as that is certain.
//
// The image of this gateway may not have the change yet; see WaitIndex.
func (q *Quorum) Propose(ctx context.Context, c metadata.Change) (metadata.Result, error) {
	if c.At == 0 {
		c.At = time.Now().UnixMilli()
	}
	b, err := encodeChange(c)
	if err != nil {
		return metadata.Result{}, err
	}
	select {
	case <-q.started:
	case <-q.stopped:
		return metadata.Result{}, ErrStopped
	case <-ctx.Done():
		return metadata.Result{}, noLeader(ctx)
	}
	changed, end := q.Watch()
	defer end()
	for {
		r, err := q.offer(ctx, b)
		if !errors.Is(err, errNotLeader) {
			return r, err
		}
		// Nothing tells when another gateway is ready to be leader, hence the pause.
		select {
		case <-changed:
		case <-time.After(q.c.Profile.Heartbeat / 4):
		case <-q.stopped:
			return metadata.Result{}, ErrStopped
		case <-ctx.Done():
			return metadata.Result{}, noLeader(ctx)
		}
	}
}

func noLeader(ctx context.Context) error { return fmt.Errorf("%w: %w", ErrNoLeader, ctx.Err()) }

// offer tries once. errNotLeader says that nothing was done.
func (q *Quorum) offer(ctx context.Context, change []byte) (metadata.Result, error) {
	leader, self := q.Leader()
	switch {
	case self:
		return q.applyHere(ctx, change)
	case leader == "" || leader == q.c.Name:
		return metadata.Result{}, errNotLeader
	}
	return q.client.propose(ctx, leader, change)
}

// applyHere makes a change if this gateway is the raft leader.
func (q *Quorum) applyHere(ctx context.Context, change []byte) (metadata.Result, error) {
	var none metadata.Result
	if q.machine.behind.Load() != nil {
		return none, errNotLeader // its answer would not be the others'
	}
	select {
	case q.proposals <- struct{}{}:
	case <-q.stopped:
		return none, ErrStopped
	case <-ctx.Done():
		return none, noLeader(ctx)
	}
	f := q.raft.Apply(change, q.c.Profile.RPC)
	done := make(chan error, 1)
	// Raft ends it when the leader loses its majority, at the latest, unless it is
	// shut down: then it may forget it.
	go func() {
		done <- f.Error()
		<-q.proposals
	}()
	select {
	case err := <-done:
		return resultOf(f, err)
	case <-q.ended:
		return none, fmt.Errorf("%w: %w", ErrUnknownFate, ErrStopped)
	case <-ctx.Done():
		return none, fmt.Errorf("%w: %w", ErrUnknownFate, ctx.Err())
	}
}

func resultOf(f raft.ApplyFuture, err error) (metadata.Result, error) {
	switch {
	case err == nil:
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return metadata.Result{}, fmt.Errorf("%w: %w", errNotLeader, err)
	default:
		return metadata.Result{}, fmt.Errorf("%w: %w", ErrUnknownFate, err)
	}
	r, ok := f.Response().(metadata.Result)
	if !ok {
		return metadata.Result{}, fmt.Errorf("%w: no result", ErrUnknownFate)
	}
	return r, nil
}

// WaitIndex waits until this gateway's image includes the change whose Result
// had that index.
func (q *Quorum) WaitIndex(ctx context.Context, index uint64) error {
	changed, end := q.Watch()
	defer end()
	for q.Image().Index < index {
		select {
		case <-changed:
		case <-q.stopped:
			return ErrStopped
		case <-ctx.Done():
			return fmt.Errorf("change %d is not here yet, only %d: %w", index, q.Image().Index, ctx.Err())
		}
	}
	return nil
}
