package quorum

import (
	"context"
	"sync"

	"github.com/hashicorp/raft"
)

// transport is raft's own transport with a gate between it and the raft main
// loop: requests for votes are looked at, and this gateway can tell its own
// raft to stand for election.
type transport struct {
	*raft.NetworkTransport
	in   chan raft.RPC
	done chan struct{}
	wg   sync.WaitGroup
	// mayVote reports whether this gateway may vote for that candidate.
	mayVote func(candidate string) bool
}

// sentAtOnce is how many requests raft sends to a gateway beside each other: no more
// than one. With more its leader waits for itself for ever when the follower refuses
// one while others are under way (1.8, hashicorp/raft#612): its heartbeats go on, so it
// leads on and agrees on nothing; and it never ends.
const sentAtOnce = 1

func newTransport(c *Config, s *stream, book *addressBook) *transport {
	t := &transport{in: make(chan raft.RPC), done: make(chan struct{})}
	t.NetworkTransport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		ServerAddressProvider: book, Logger: newRaftLog(c.Logger), Stream: s, MaxPool: 3, MaxRPCsInFlight: sentAtOnce, Timeout: c.Profile.RPC})
	return t
}

// start begins to pass requests on.
func (t *transport) start(mayVote func(candidate string) bool) {
	t.mayVote = mayVote
	t.wg.Go(func() {
		for {
			select {
			case rpc := <-t.NetworkTransport.Consumer():
				t.pass(rpc)
			case <-t.done:
				return
			}
		}
	})
}

func (t *transport) pass(rpc raft.RPC) {
	if t.refuses(&rpc) {
		return
	}
	select {
	case t.in <- rpc:
	case <-t.done:
	}
}

// stand tells this gateway's raft to stand for election at once, and the others
// to vote although they know a leader: what a leader that hands over says.
func (t *transport) stand(ctx context.Context) error {
	answered := make(chan raft.RPCResponse, 1)
	order := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}
	select {
	case t.in <- raft.RPC{Command: order, RespChan: answered}:
	case <-ctx.Done():
		return ctx.Err()
	case <-t.done:
		return ErrStopped
	}
	select {
	case r := <-answered:
		return r.Error
	case <-ctx.Done():
		return ctx.Err()
	case <-t.done:
		return ErrStopped
	}
}

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.in }

// Close implements raft.WithClose.
func (t *transport) Close() error {
	select {
	case <-t.done:
		return nil
	default:
	}
	close(t.done)
	err := t.NetworkTransport.Close()
	t.CloseStreams()
	t.wg.Wait()
	return err
}
