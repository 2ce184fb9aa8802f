package replica

import (
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"time"
)

func (e *DuplicateError) Error() string { return "" }

type Rules uint32

type Partition struct{}

func NewPartition(id metadata.PartitionID, log Log, hw int64, o Options) *Partition { return nil }

// Registered says which incarnation the controller gave to this process. Nothing leads before.
func (p *Partition) Registered(incarnation uint64) Effects { panic("soon") }
func (p *Partition) Image(now time.Duration, state *metadata.PartitionState, incarnation func(metadata.NodeID) uint64, minInsync int) Effects {
	panic("soon")
}
func (p *Partition) Admit(h *batch.Header, base int64, acks metadata.Acks) (int32, error) {
	panic("soon")
}
func (p *Partition) AdmitCopy(h *batch.Header, base int64, leaderEpoch int32) (int32, error) {
	panic("soon")
}

// AdmitCut is asked when a Truncate or Restart is placed: still the log that the answer was about, in its epoch?
func (p *Partition) AdmitCut(s *FollowerStep) error   { panic("soon") }
func (p *Partition) Synced(now time.Duration) Effects { panic("soon") }
func (p *Partition) Failed() Effects                  { panic("soon") }
func (p *Partition) Truncated(to int64) Effects       { panic("soon") }
func (p *Partition) Restarted(at int64) Effects       { panic("soon") }
func (p *Partition) Fetch(now time.Duration, node metadata.NodeID, incarnation uint64, r *FetchPartition) (a FetchedPartition, read bool, fx Effects) {
	panic("soon")
}

// News: the follower has not been told the high watermark as it is now; Told: it is being told.
func (p *Partition) News(node metadata.NodeID) bool                                 { panic("soon") }
func (p *Partition) Told(node metadata.NodeID, hw int64)                            { panic("soon") }
func (p *Partition) NextFetch() (leader metadata.NodeID, r FetchPartition, ok bool) { panic("soon") }
func (p *Partition) Fetched(now time.Duration, asked FetchPartition, a *FetchedPartition) FollowerStep {
	panic("soon")
}
func (p *Partition) Tick(now time.Duration) Effects { panic("soon") }
func (p *Partition) Altered(now time.Duration, a *metadata.AlterPartition, r metadata.Result, err error) Effects {
	panic("soon")
}
func (p *Partition) Resign() Effects { panic("soon") }

// Status is a copy of what is known, for status and metrics.
type Status struct {
	Role                            Role
	Leader                          metadata.NodeID
	LeaderEpoch, PartitionEpoch     int32
	Replicas, ISR                   []metadata.NodeID
	HighWatermark                   int64
	UnderReplicated, UnderMinInsync bool
	Followers                       map[metadata.NodeID]FollowerStatus // leader only
	Broken                          string
}
type FollowerStatus struct {
	End      int64
	Lag      int64
	CaughtUp time.Duration
}

func (p *Partition) Status() Status          { panic("soon") }
func (p *Partition) Role() Role              { panic("soon") }
func (p *Partition) LeaderEpoch() int32      { panic("soon") }
func (p *Partition) Leader() metadata.NodeID { panic("soon") }
func (p *Partition) HighWatermark() int64    { panic("soon") }

// Missing is how many offsets below the high watermark as persisted the log had lost when it was opened: register Unclean.
func (p *Partition) Missing() int64        { panic("soon") }
func (p *Partition) Producers() *Producers { panic("soon") }

type Producers struct{}

func (t *Producers) Complete() int64                   { panic("soon") } // offset up to which it is complete
func (t *Producers) Encode(sizeMax int) []byte         { panic("soon") }
func (t *Producers) Decode(b []byte) error             { panic("soon") }
func (t *Producers) Learn(h *batch.Header, base int64) { panic("soon") }
func (t *Producers) Rollback(to int64)                 { panic("soon") }
