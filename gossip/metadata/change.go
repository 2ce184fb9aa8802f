package metadata

import "errors"

// Change is what the gateways agree on, one at a time: exactly one field is
// set. It travels as msgpack, so fields are added and never renamed.
type Change struct {
	At int64 `msgpack:"at,omitempty"` // unix ms at the proposer; used for ages, never for order

	Form           *Form           `msgpack:"form,omitempty"`
	Register       *Register       `msgpack:"reg,omitempty"`
	Fence          *Fence          `msgpack:"fence,omitempty"`
	DrainNode      *DrainNode      `msgpack:"drain,omitempty"`
	RemoveMember   *RemoveMember   `msgpack:"remove,omitempty"`
	PutStream      *PutStream      `msgpack:"stream,omitempty"`
	DeleteStream   *DeleteStream   `msgpack:"delete,omitempty"`
	AlterPartition *AlterPartition `msgpack:"alter,omitempty"`
	Elect          *Elect          `msgpack:"elect,omitempty"`
	Reassign       *Reassign       `msgpack:"reassign,omitempty"`
	PutDrain       *PutDrain       `msgpack:"cursor,omitempty"`
	AssignSource   *AssignSource   `msgpack:"source,omitempty"`
	AssignDrain    *AssignDrain    `msgpack:"drainer,omitempty"`
	PutDrains      *PutDrains      `msgpack:"cursors,omitempty"`
	PutClock       *PutClock       `msgpack:"clock,omitempty"`
}

// Form gives a new site its random name; only the first one counts.
type Form struct{ Site string }

// Register is a gateway saying that it is here: at each start, and when it
// finds itself fenced although it lives. It ends the fencing.
type Register struct {
	Name, Address, Zone, Version string
	Weight                       int32
	Sources                      []string
	StoreID                      string
	StoreIncarnation             uint64
	// Unclean says that flash lost what it had confirmed: the gateway leaves
	// every ISR, as it does with another StoreID.
	Unclean bool
}

// Fence takes a gateway that is believed dead out of every ISR and leadership.
// It is void when the gateway has started again meanwhile.
type Fence struct {
	Node        NodeID
	Incarnation uint64
}

// DrainNode moves leaderships off a gateway, or (On false) allows them again.
type DrainNode struct {
	Node NodeID
	On   bool
}

// RemoveMember forgets a gateway for good and gives its replicas to others.
type RemoveMember struct{ Node NodeID }

// PutStream makes a stream or alters it. Alter must be set to change one that
// exists; the number of partitions never shrinks.
type PutStream struct {
	Config StreamConfig
	Alter  bool
}

// DeleteStream removes a stream with its records.
type DeleteStream struct{ Name string }

// AlterPartition is a leader asking for another ISR. It counts only in the
// leader's own epoch, for the partition epoch it knows, and for followers of
// the incarnation it named (KIP-497, KIP-903).
type AlterPartition struct {
	Partition      PartitionID
	Leader         NodeID
	LeaderEpoch    int32
	PartitionEpoch int32
	ISR            []NodeID
	Incarnations   []uint64 // of the members of ISR, in order
}

// Elect chooses another leader. Without Unclean it has to be in the ISR. Node
// NoNode lets the controller choose.
type Elect struct {
	Partition      PartitionID
	Node           NodeID
	PartitionEpoch int32 // that the proposer saw, -1: whatever it is
	Unclean        bool
}

// Reassign sets the replicas of a partition. Those that leave stay in the ISR
// until those that come have caught up.
type Reassign struct {
	Partition      PartitionID
	PartitionEpoch int32
	Replicas       []NodeID
}

// PutDrain stores a drain's cursor, if LeaderEpoch is the partition's and Epoch
// its drain's: of two gateways that both believe to drain, one is refused.
type PutDrain struct {
	Partition   PartitionID
	LeaderEpoch int32
	Epoch       int32 // Drain.Epoch that the proposer drains in
	Cursor      []byte
	// Seq rises with every cursor that one drainer tells in its epochs. One that
	// was overtaken on its way brings nothing back. 0: a gateway that does not
	// count yet.
	Seq int64
}

// DrainsMax bounds the cursors of one PutDrains. Whoever proposes them keeps
// to the size of a change as well.
const DrainsMax = 256

// PutDrains stores the cursors of many partitions in one agreement. Each is
// judged alone: what is refused holds nothing else up, and is counted in
// Result.Detail. Only what may be lost goes this way.
type PutDrains struct{ Drains []PutDrain }

// AssignDrain says which in-sync replica drains a partition; NoNode: whoever
// leads it. Epoch is the Drain.Epoch that the proposer saw.
type AssignDrain struct {
	Partition PartitionID
	Node      NodeID
	Epoch     int32
}

// PutClock says when a boot of a gateway began, so that timestamps that were
// taken before its clock was set can be corrected, by whoever drains them.
type PutClock struct {
	Boot   string // the kernel's random boot ID
	Node   NodeID // the gateway that booted
	BootAt int64  // unix ms at boot
}

// AssignSource says which gateway reads an external broker.
type AssignSource struct {
	Source string
	Node   NodeID
}

// Result is the controller's answer to a Change.
type Result struct {
	Index       uint64          `msgpack:"i"`
	Error       string          `msgpack:"e,omitempty"` // see ErrorOf
	Detail      string          `msgpack:"d,omitempty"`
	Node        NodeID          `msgpack:"n,omitempty"`   // Register
	Incarnation uint64          `msgpack:"inc,omitempty"` // Register
	Partition   *PartitionState `msgpack:"p,omitempty"`   // as it is now: AlterPartition, Elect
}

// Why a Change was refused, named after Kafka's codes where there is one.
var (
	ErrUnknownPartition     = errors.New("unknown stream or partition")
	ErrUnknownMember        = errors.New("unknown gateway")
	ErrFencedLeaderEpoch    = errors.New("fenced leader epoch")
	ErrInvalidUpdateVersion = errors.New("the partition has changed meanwhile")
	ErrStaleIncarnation     = errors.New("the gateway has started again meanwhile")
	ErrIneligibleReplica    = errors.New("replica is not eligible")
	ErrNotAllowed           = errors.New("not allowed")
	ErrInvalid              = errors.New("invalid")
)

var changeErrors = []error{ErrUnknownPartition, ErrUnknownMember, ErrFencedLeaderEpoch, ErrInvalidUpdateVersion,
	ErrStaleIncarnation, ErrIneligibleReplica, ErrNotAllowed, ErrInvalid}

// Err returns the refusal as an error that errors.Is knows, nil when the
// change was made.
func (r *Result) Err() error {
	if r.Error == "" {
		return nil
	}
	for _, e := range changeErrors {
		if e.Error() == r.Error {
			return &refusal{e, r.Detail}
		}
	}
	return &refusal{errors.New(r.Error), r.Detail}
}

// Refusal returns the Result that Err turns back into err.
func Refusal(err error, detail string) Result { return Result{Error: err.Error(), Detail: detail} }

type refusal struct {
	cause  error
	detail string
}

func (r *refusal) Error() string {
	if r.detail == "" {
		return r.cause.Error()
	}
	return r.cause.Error() + ": " + r.detail
}

func (r *refusal) Unwrap() error { return r.cause }
