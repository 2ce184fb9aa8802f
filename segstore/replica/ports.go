package replica

import (
	"context"
	"errors"
	"time"

	"cistern/gossip/metadata"
)

// Append is one finished batch on its way into a partition, at whichever
// gateway leads it.
type Append struct {
	Partition metadata.PartitionID
	// Batch has its producer id and sequence and is never changed: offsets are
	// stamped on a copy. It belongs to the journal until Done.
	Batch []byte
	Acks  metadata.Acks
	// Done is called exactly once, from any goroutine, with BaseOffset or Err
	// set; it must not block. Err is nil when the batch is as safe as Acks asks;
	// BaseOffset is -1 when it was there already and nobody knows where.
	Done func(*Append)

	BaseOffset int64
	Err        error
}

// FetchRequest is a follower asking one leader for what comes next in several
// partitions.
type FetchRequest struct {
	Node        metadata.NodeID // of the follower
	Incarnation uint64          // likewise
	MaxWait     time.Duration   // how long the leader may wait for something to say
	MaxBytes    int             // of all records together; one batch comes whatever its size
	Partitions  []FetchPartition
}

// FetchPartition is where the follower's synced log ends.
type FetchPartition struct {
	Partition   metadata.PartitionID
	LeaderEpoch int32 // in which the follower believes the leader to be
	Offset      int64 // the follower's synced end: all below is on its flash
	LastEpoch   int32 // of the follower's last record, -1 when it has none
	// HighWatermark is the follower's: the leader answers when there is a higher
	// one, even without records (KIP-1166).
	HighWatermark int64
	// Drained is what the follower knows of the way upstream: it may be the one
	// that drains. From the leader all others learn it.
	Drained int64
}

// FetchAnswer has those partitions that there is something to say about.
type FetchAnswer struct {
	Partitions []FetchedPartition
}

// FetchedPartition is the leader's answer for one partition.
type FetchedPartition struct {
	Partition     metadata.PartitionID
	Err           error // one of those below, nil when the rest counts
	LeaderEpoch   int32 // the leader's
	HighWatermark int64
	LogStart      int64
	Drained       int64       // nobody upstream needs what lies below
	Diverging     *Divergence // the logs part: cut back and ask again; no Records then
	Records       []byte      // whole batches; the first contains the offset asked for
}

// Divergence says how far the leader's log agrees with the follower's at most:
// to EndOffset, the end of Epoch in the leader's log (KIP-595).
type Divergence struct {
	Epoch     int32
	EndOffset int64
}

// Peers are the other gateways, as the manager reaches them. bridge/peer
// implements it.
type Peers interface {
	// Fetch asks a leader. An error means that no answer came.
	Fetch(ctx context.Context, to metadata.Member, r *FetchRequest) (*FetchAnswer, error)
	// Produce hands batches to a leader, in order; it does not block. Every
	// Append is answered, with ErrUnreachable when its fate is unknown.
	Produce(to metadata.Member, batches []*Append)
	// Recall asks a copy for what flash lost here. An error means that no answer
	// came.
	Recall(ctx context.Context, to metadata.Member, r *RecallRequest) (*RecallAnswer, error)
}

// Service is what a gateway does for its peers. Manager implements it.
type Service interface {
	// Fetch waits up to MaxWait for something to say.
	Fetch(ctx context.Context, r *FetchRequest) *FetchAnswer
	// Produce appends at this gateway if it leads; it does not block.
	Produce(batches []*Append)
	// Recall answers from this gateway's own copy.
	Recall(r *RecallRequest) *RecallAnswer
}

// Why an append or a fetch was refused, named after the Kafka codes that carry
// them between gateways.
var (
	ErrNotLeader          = errors.New("not the leader")                              // NOT_LEADER_OR_FOLLOWER
	ErrNoLeader           = errors.New("the partition has no leader")                 // LEADER_NOT_AVAILABLE
	ErrFencedLeaderEpoch  = errors.New("fenced leader epoch")                         // FENCED_LEADER_EPOCH: the asker's epoch is older
	ErrUnknownLeaderEpoch = errors.New("unknown leader epoch")                        // UNKNOWN_LEADER_EPOCH: the asker's epoch is newer
	ErrStaleIncarnation   = errors.New("another incarnation of the gateway")          // STALE_BROKER_EPOCH
	ErrOffsetOutOfRange   = errors.New("offset out of range")                         // OFFSET_OUT_OF_RANGE
	ErrNotEnoughReplicas  = errors.New("fewer in-sync replicas than min_insync")      // NOT_ENOUGH_REPLICAS
	ErrUnknownProducer    = errors.New("unknown producer")                            // UNKNOWN_PRODUCER_ID
	ErrOutOfOrderSequence = errors.New("out of order sequence")                       // OUT_OF_ORDER_SEQUENCE_NUMBER
	ErrUnknownPartition   = errors.New("unknown stream or partition")                 // UNKNOWN_TOPIC_OR_PARTITION
	ErrCorrupt            = errors.New("corrupt batch")                               // CORRUPT_MESSAGE
	ErrTooLarge           = errors.New("the batch is too large")                      // MESSAGE_TOO_LARGE
	ErrFull               = errors.New("the leader's flash is full")                  // POLICY_VIOLATION
	ErrJournal            = errors.New("the journal takes nothing now")               // KAFKA_STORAGE_ERROR
	ErrUnreachable        = errors.New("no answer: the fate of the batch is unknown") // never on the wire
)
