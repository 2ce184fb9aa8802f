package quorum

import (
	"fmt"
	"io"

	"github.com/hashicorp/raft"
)

// refuses answers what must not reach raft: votes that this gateway must not
// give, and what would end the process.
func (t *transport) refuses(rpc *raft.RPC) bool {
	switch r := rpc.Command.(type) {
	case *raft.RequestVoteRequest:
		return t.refusesVote(rpc, r.ID, &raft.RequestVoteResponse{RPCHeader: gateHeader})
	case *raft.RequestPreVoteRequest:
		return t.refusesVote(rpc, r.ID, &raft.RequestPreVoteResponse{RPCHeader: gateHeader})
	case *raft.AppendEntriesRequest:
		for _, l := range r.Entries {
			if err := checkEntry(l); err != nil {
				rpc.Respond(&raft.AppendEntriesResponse{RPCHeader: gateHeader, Term: r.Term}, err)
				return true
			}
		}
	case *raft.InstallSnapshotRequest:
		if err := checkConfiguration(r.Configuration); err != nil {
			io.Copy(io.Discard, rpc.Reader)
			rpc.Respond(&raft.InstallSnapshotResponse{RPCHeader: gateHeader, Term: r.Term}, err)
			return true
		}
	}
	return false
}

var gateHeader = raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}

// refusesVote keeps a gateway with an empty log from votes that it must not
// give, though raft would: if it has lost its card, it may have held what a
// majority confirmed, and its vote could elect one that never had it. It votes
// for those with whom it has promised to form a site; see promise.go.
func (t *transport) refusesVote(rpc *raft.RPC, candidate []byte, no any) bool {
	if t.mayVote(string(candidate)) {
		return false
	}
	rpc.Respond(no, nil)
	return true
}

// checkEntry finds what raft panics on: entries of a kind that a newer version
// may know, and configurations that can't be read.
func checkEntry(l *raft.Log) error {
	switch {
	case l == nil || l.Type > raft.LogConfiguration:
		return fmt.Errorf("raft entry of an unknown type: %w", errNewer)
	case l.Type == raft.LogConfiguration:
		return checkConfiguration(l.Data)
	}
	return nil
}

func checkConfiguration(b []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("raft configuration: %v", p)
		}
	}()
	raft.DecodeConfiguration(b)
	return nil
}
