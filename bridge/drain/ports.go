package drain

import (
	"context"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// Log is one partition's records. segstore's Log is one.
type Log interface {
	Partition() metadata.PartitionID
	StartOffset() int64
	HighWatermark() int64
	// EndOffset is where the log ends, confirmed or not.
	EndOffset() int64
	// EndOffsetForEpoch returns the largest leader epoch up to the one asked for
	// that has records here, and the offset after its last; -1, -1: none.
	EndOffsetForEpoch(epoch int32) (int32, int64)
	// Read appends whole stored batches to buf: the first contains offset,
	// all lie below the high watermark, at least one when there is one. Lost
	// records are a *segstore.CorruptError.
	Read(offset int64, buf []byte, sizeMax int) ([]byte, error)
	// Watch returns a channel that gets a value after the high watermark
	// moved, and a function that ends it.
	Watch() (moved <-chan struct{}, cancel func())
}

// State keeps cursors. Put may be lost by a crash, but never brings back a
// value older than the last PutSync, which is durable when it returns.
type State interface {
	Get(key string) []byte
	Put(key string, value []byte)
	PutSync(key string, value []byte) error
}

// Quarantine keeps batches that the central system refuses for good.
type Quarantine interface {
	// Add makes the batch durable. The same batch (partition, offsets) may
	// come again after a crash. An error stops the partition: nothing is
	// given up that could not be set aside.
	Add(Poison) error
}

// Poison is a batch that was proven to be refused for good.
type Poison struct {
	Partition   metadata.PartitionID
	FirstOffset int64
	LastOffset  int64
	Reason      string // a Kafka error name, or what local verification found
	Detail      string // the whole story, for people
	Time        time.Time
	Batch       []byte // as stored; only valid during Add
}

// Sink is a central system. Kafka is the reference: see kafkasink.
type Sink interface {
	// Run keeps the way upstream alive until ctx ends. Lanes work only while
	// it runs; when it returns no result is outstanding.
	Run(ctx context.Context) error
	// Open prepares to send one partition: it finds the target, gives the
	// cursor a new incarnation when the target is new, and corrects
	// Cursor.Position when how says so. It waits while the uplink is down.
	Open(ctx context.Context, p metadata.PartitionID, c *Cursor, how Opening) (Lane, error)
	// Uplink tells the state of the way upstream.
	Uplink() Uplink
	// Kick ends a back-off: try now.
	Kick()
}

// Opening says what the sink has to find out about the position.
type Opening struct {
	// Flow is whose lane it is: two flows of a partition have two lanes.
	Flow Flow
	// First: this process does not know yet what became of the last one's
	// batches. Look, if that is cheap or Cursor.InDoubt is set.
	First bool
	// Relocate: answers may be lost, the position was contradicted, or the
	// silence was long. Look.
	Relocate bool
	// Contradicted: upstream refused our sequence number. If looking explains
	// nothing, and the producer id may have expired, take a new incarnation.
	Contradicted bool
	// Forgotten: upstream no longer knows the producer. After looking, take a
	// new incarnation.
	Forgotten bool
}

// Lane sends one partition's batches. It is used by one goroutine.
type Lane interface {
	// Send begins to send b, a whole batch with the given header, whose first
	// record has the given sequence number upstream. b belongs to the lane
	// until done is called: once, in the order of Send, from any goroutine,
	// with an error (see VerdictOf) or nil. upstream is the offset behind the
	// batch there, -1 when that is not known. done must not block.
	Send(b []byte, h *batch.Header, sequence int32, done func(upstream int64, err error))
	// Close takes back what was not sent yet. Results still come.
	Close()
	// Target names where the lane leads, for people.
	Target() string
	// Traits says what the lane needs of its batches.
	Traits() Traits
}

// Traits is what a lane needs of its batches.
type Traits struct {
	// Window is how many of them may be unanswered; 0: InFlightMax.
	Window int
	// Identified: each record needs a header that says which it is, since the
	// target admits a resend twice.
	Identified bool
	// Unnumbered: nothing that was sent before can be taken for a record with
	// the same number later. Either batches carry no number upstream, or opening
	// the lane has ended all that was under way.
	Unnumbered bool
}

// Flow is one of the two orders of a partition under OrderLiveFirst. A strict
// partition has the live flow only.
type Flow uint8

const (
	Live     Flow = iota
	Backfill      // what an outage left behind
)

// String returns "live" or "backfill".
func (f Flow) String() string {
	if f == Backfill {
		return "backfill"
	}
	return "live"
}

// MarshalText implements encoding.TextMarshaler.
func (f Flow) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Flow) UnmarshalText(b []byte) error {
	*f = Live
	if string(b) == "backfill" {
		*f = Backfill
	}
	return nil
}

// Term is what the site says about a partition while this gateway drains it.
type Term struct {
	// Unclean counts the elections that gave up records of the partition. When it
	// has grown, what upstream has may be of a history that is no more. The log
	// has to be cut back to its leader's before it is added.
	Unclean int32
}
