package replica

import (
	"time"

	"cistern/gossip/metadata"
)

// Log is what a Partition asks of the journal. *segstore.Log is one.
type Log interface {
	StartOffset() int64
	EndOffset() int64    // synced: all below survives a power cut
	PlacedOffset() int64 // with what is written or waits to be synced
	LastEpoch() int32    // of the last batch placed, -1 when there is none
	// EndOffsetForEpoch counts placed batches: the largest epoch up to the one
	// asked for, and the offset after its last; -1, -1 when there is none.
	EndOffsetForEpoch(epoch int32) (int32, int64)
}


// Options of a Partition.
type Options struct {
	Self          metadata.NodeID
	ReplicaLagMax time.Duration // 0: ReplicaLagMaxDefault
	// Without switches rules off, so that the simulator can show that each is
	// needed. Always 0 in production.
	Without Rules
}

// Role is what a gateway is to a partition.
type Role uint8

const (
	Idle     Role = iota // keeps no copy, or knows no leader
	Follower             // copies the leader's log
	Leader
)

// Effects are what the caller has to do after a call.
type Effects struct {
	HighWatermark int64                    // as it is now
	Moved         bool                     // it rose: tell the log, answer the appends below
	Alter         *metadata.AlterPartition // send it to the controller once, and report by Altered
	Resigned      bool                     // leads no more: fail the appends that wait, with ErrNotLeader
	Broken        string                   // not empty: an invariant does not hold; the partition has stopped
}

// FollowerStep is what a follower does with an answer: at most one of
// Truncate, Restart and Records. Each goes through the journal, guarded by
// AdmitCut or AdmitCopy at the moment it is placed.
type FollowerStep struct {
	LeaderEpoch int32
	Truncate    bool   // cut the log back to Offset; then call Truncated
	Restart     bool   // empty the log, to go on at Offset; then call Restarted
	Offset      int64  // of Truncate or Restart
	Records     []byte // whole batches to append verbatim; then Synced or Failed
	Drained     int64  // nobody upstream needs what lies below
	Err         error  // the leader refused, or its answer makes no sense; ask again later
	Effects
	asked FetchPartition
}

// DuplicateError says that a batch is in the log already. It is as good as
// appended once the high watermark has passed End.
type DuplicateError struct {
	Base int64 // where it is, -1 when that is not known any more
	End  int64
}
