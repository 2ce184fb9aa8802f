package metadata

import (
	"maps"
	"slices"
)

// NodeID names a gateway within its site. The controller gives it at the first
// registration and never to another.
type NodeID int32

// NoNode stands where a partition has no leader.
const NoNode NodeID = -1

// Limits of a site.
const (
	MembersMax  = 64
	ReplicasMax = 5 // of one partition
	VotersMax   = 5 // gateways that vote on metadata; the others follow
	ClocksMax   = 256
)

// Member is one gateway as the site knows it.
type Member struct {
	ID      NodeID
	Name    string // unique on the site
	Address string // host:port for replication, quorum and admin traffic
	Zone    string // a power circuit or building; "" is a zone of its own for all that name none
	Weight  int32  // share of replicas it takes beside others, 1 or more
	Version string
	Sources []string // external brokers that it could read

	// StoreID and StoreIncarnation are the gateway's flash: a new card has
	// another ID, and every start of the process another incarnation.
	StoreID          string
	StoreIncarnation uint64
	// Incarnation is the site's count of them: it rises with every start,
	// whatever card is in. Orders and requests that name an older one are void.
	Incarnation uint64
	// Unclean: it registered this incarnation as one whose flash had lost what
	// it had confirmed. So the same registration, repeated, costs nothing more.
	Unclean bool

	Fenced   bool  // leads nothing, and is in an ISR only where it is the last
	Draining bool  // leads nothing, on an operator's word
	FencedAt int64 // unix ms at whoever asked for it
}

// PartitionState is who keeps one partition. Replicas[0] is the preferred
// leader.
type PartitionState struct {
	Replicas []NodeID
	ISR      []NodeID
	Leader   NodeID

	LeaderEpoch    int32 // rises with every change of leader or of its incarnation
	PartitionEpoch int32 // rises with every change of anything here

	// LastISR is set while ISR is empty: who was in it last. Only they can
	// lead without losing what was confirmed.
	LastISR []NodeID
	// LastLost says that the gateway of LastISR has another card since: what
	// only it had is gone, and it is the last that one should elect.
	LastLost bool
	// Adding are those of Replicas that a reassignment brings in, Removing those
	// that leave as soon as all of Adding are in sync.
	Adding, Removing []NodeID
	// Unclean counts the elections that gave up records, on an operator's word.
	Unclean int32
}

// InISR reports whether n is in sync.
func (p *PartitionState) InISR(n NodeID) bool { return slices.Contains(p.ISR, n) }

// IsReplica reports whether n keeps a copy.
func (p *PartitionState) IsReplica(n NodeID) bool { return slices.Contains(p.Replicas, n) }

// Settled returns how many replicas min_insync is counted for: those on their
// way in would only hold confirmations up.
func (p *PartitionState) Settled() int { return len(p.Replicas) - len(p.Adding) }

// Clone returns a copy that shares nothing.
func (p *PartitionState) Clone() PartitionState {
	c := *p
	c.Replicas, c.ISR, c.LastISR = slices.Clone(p.Replicas), slices.Clone(p.ISR), slices.Clone(p.LastISR)
	c.Adding, c.Removing = slices.Clone(p.Adding), slices.Clone(p.Removing)
	return c
}

// StreamState is a stream of the site: what was decided about it, in the words
// it was asked in (see controller.Replicas and MinInsync), and who keeps each
// partition.
type StreamState struct {
	// ID is the index of the change that made it. A stream that was deleted and
	// made again under its old name has another: the old records aren't its own.
	ID         uint64
	Config     StreamConfig
	Partitions []PartitionState
}

// Drain is what the site remembers of one partition's way upstream.
type Drain struct {
	LeaderEpoch int32  // of the leader under which Cursor was stored
	Cursor      []byte // the drain's own
	// Node drains instead of the leader; it is in sync and not fenced. 0: the
	// leader drains, as it did before there was a choice (node IDs begin at 1).
	Node NodeID
	// Epoch rises whenever Node changes. So the pair of the partition's leader
	// epoch and this one names one drainer and no other.
	Epoch int32
	Seq   int64 // of Cursor; counts anew in other epochs
}

// Clock is when a boot of a gateway began, as was learned later.
type Clock struct {
	Node   NodeID
	BootAt int64  // unix ms
	Index  uint64 // of the change that first told it; the lowest goes first
}

// Image is the site's metadata at one moment: what the quorum has agreed on. It
// is never changed once others see it; see Clone.
type Image struct {
	Index   uint64 // of the last agreement in it
	Site    string // random, set when the site was formed; "" before
	Members map[NodeID]Member
	Streams map[string]*StreamState
	Drains  map[PartitionID]Drain
	Sources map[string]NodeID // external broker → the gateway that reads it
	Clocks  map[string]Clock  // boot ID → when it began; at most ClocksMax
	NextID  NodeID
}

// NewImage returns the metadata of a site without members.
func NewImage() *Image {
	return &Image{Members: map[NodeID]Member{}, Streams: map[string]*StreamState{}, Drains: map[PartitionID]Drain{},
		Sources: map[string]NodeID{}, Clocks: map[string]Clock{}, NextID: 1}
}

// Clone returns a copy whose maps may be changed. Streams are shared: replace
// one by StreamState.Clone before changing it.
func (m *Image) Clone() *Image {
	c := *m
	c.Members, c.Streams = maps.Clone(m.Members), maps.Clone(m.Streams)
	c.Drains, c.Sources, c.Clocks = maps.Clone(m.Drains), maps.Clone(m.Sources), maps.Clone(m.Clocks)
	return &c
}

// Clone returns a copy that shares nothing.
func (s *StreamState) Clone() *StreamState {
	c := &StreamState{ID: s.ID, Config: s.Config, Partitions: make([]PartitionState, len(s.Partitions))}
	for i := range s.Partitions {
		c.Partitions[i] = s.Partitions[i].Clone()
	}
	return c
}

// Partition returns the state of p, nil when there is no such partition. Do
// not change it.
func (m *Image) Partition(p PartitionID) *PartitionState {
	s := m.Streams[p.Stream]
	if s == nil || p.Partition < 0 || int(p.Partition) >= len(s.Partitions) {
		return nil
	}
	return &s.Partitions[p.Partition]
}

// Drainer returns who drains p, with the epochs that fence it: the gateway that
// was assigned, else the leader, else NoNode.
func (m *Image) Drainer(p PartitionID) (n NodeID, leaderEpoch, epoch int32) {
	state := m.Partition(p)
	if state == nil {
		return NoNode, 0, 0
	}
	d := m.Drains[p]
	if n = state.Leader; d.Node > 0 && n != NoNode {
		n = d.Node
	}
	return n, state.LeaderEpoch, d.Epoch
}

// Member returns the member with that name.
func (m *Image) Member(name string) (Member, bool) {
	for _, x := range m.Members {
		if x.Name == name {
			return x, true
		}
	}
	return Member{}, false
}

// Incarnation returns the incarnation of n, 0 when n is no member.
func (m *Image) Incarnation(n NodeID) uint64 { return m.Members[n].Incarnation }
