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

func newTransport(c *Config, s *stream, book *addressBook) *transport {
	t := &transport{in: make(chan raft.RPC), done: make(chan struct{})}
	t.NetworkTransport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		ServerAddressProvider: book, Logger: newRaftLog(c.Logger), Stream: s, MaxPool: 3, Timeout: c.Profile.RPC})
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

// refuses answers requests for votes that a gateway with an empty log must not
// grant, though raft would: if it has lost its card, it may have held what a
// majority confirmed, and its vote could elect one that never had it. It votes
// for those with whom it has promised to form a site; see form.go.
func (t *transport) refuses(rpc *raft.RPC) bool {
	var answer any
	var from []byte
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}
	switch r := rpc.Command.(type) {
	case *raft.RequestVoteRequest:
		from, answer = r.ID, &raft.RequestVoteResponse{RPCHeader: header}
	case *raft.RequestPreVoteRequest:
		from, answer = r.ID, &raft.RequestPreVoteResponse{RPCHeader: header}
	default:
		return false
	}
	if t.mayVote(string(from)) {
		return false
	}
	rpc.Respond(answer, nil)
	return true
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
