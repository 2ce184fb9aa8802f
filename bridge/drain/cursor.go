package drain

import (
	"fmt"
	"time"
)

// Cursor is what is remembered of one flow of a partition's drain. Its fields
// become durable in this order: identity (Target, Producer, Base, LogEpoch) and
// InDoubt before the first batch is sent, Position afterwards and lazily.
type Cursor struct {
	// Position is the first offset that is not known to be upstream. While
	// InDoubt is set, records from Position on may be there too.
	Position int64 `msgpack:"pos"`
	InDoubt  bool  `msgpack:"doubt"`

	// Base is the offset of sequence number 0, had there never been a gap.
	Base     int64  `msgpack:"base"`
	Target   Target `msgpack:"to"`
	Producer int64  `msgpack:"pid"` // -1: none yet
	Epoch    int16  `msgpack:"epoch"`
	// Upstream is the target's offset behind our last acknowledged batch:
	// a search for our batches begins there.
	Upstream int64 `msgpack:"up"`
	// AckedAt is when upstream last confirmed that it knows the producer: unix
	// ms of the last acknowledgement, or of taking the id.
	AckedAt int64 `msgpack:"acked"`
	// Incarnation counts producer ids: a higher one means that what upstream
	// knew of us was given up, on purpose.
	Incarnation int `msgpack:"inc"`
	// Branch numbers the flows that a partition has had: what a target keeps for
	// us under a name (a group's position, say) is of one branch. A new branch
	// has Producer -1, and begins at Position whatever upstream has of others.
	Branch int32 `msgpack:"br,omitempty"`
	// LogEpoch is the highest leader epoch of what was sent or passed over, -1:
	// nothing was. It may be higher than that, never lower.
	LogEpoch int32 `msgpack:"le"`
	// Skip is the offset below which an operator gave up what is not upstream;
	// 0: none. It takes effect when Position is known for sure.
	Skip int64 `msgpack:"skip,omitempty"`
	// Moved is the offset behind the last range that was left out of the sequence
	// of this incarnation, 0: none was. Base is not true of what lies below.
	Moved int64 `msgpack:"mv,omitempty"`
}

// Target is where a partition goes upstream.
type Target struct {
	Cluster   string   `msgpack:"c"`
	Topic     string   `msgpack:"t"`
	TopicID   [16]byte `msgpack:"id"` // zero: the cluster does not tell
	Partition int32    `msgpack:"p"`
}

// String returns "topic/partition".
func (t Target) String() string { return fmt.Sprintf("%s/%d", t.Topic, t.Partition) }

// NewCursor returns the cursor of a partition that was never drained.
func NewCursor(start int64) Cursor {
	return Cursor{Position: start, Base: start, Producer: -1, LogEpoch: -1}
}

// Incarnate begins anew at a target: sequence numbers count from Position.
func (c *Cursor) Incarnate(now time.Time, to Target, producer int64, epoch int16, upstream int64) {
	c.AckedAt = now.UnixMilli()
	c.Target, c.Producer, c.Epoch = to, producer, epoch
	c.Base, c.Upstream, c.InDoubt, c.Moved = c.Position, upstream, false, 0
	c.Incarnation++
}

// sequenceMask: Kafka's sequence numbers run from 0 to 2^31-1 and begin anew.
const sequenceMask = 1<<31 - 1

// Sequence returns the sequence number of an offset.
func (c *Cursor) Sequence(offset int64) int32 { return int32((offset - c.Base) & sequenceMask) }

// OffsetOf returns the offset that has a sequence number. Of the offsets that
// share it, 2^31 apart, it is the one nearest to Position.
func (c *Cursor) OffsetOf(sequence int32) int64 {
	distance := (int64(sequence) - int64(c.Sequence(c.Position))) & sequenceMask
	if distance >= 1<<30 {
		distance -= 1 << 31
	}
	return c.Position + distance
}

// skip moves Position past a range that will never be sent. What was sent
// before it and what comes behind get adjacent sequence numbers.
func (c *Cursor) skip(to int64) {
	c.Base += to - c.Position
	c.Position, c.Moved = to, max(c.Moved, to)
}

// identity is what must be durable before a batch is sent under it.
type identity struct {
	target      Target
	producer    int64
	epoch       int16
	base        int64
	incarnation int
	branch      int32
	logEpoch    int32
}

func (c *Cursor) identity() identity {
	return identity{c.Target, c.Producer, c.Epoch, c.Base, c.Incarnation, c.Branch, c.LogEpoch}
}

// reached is the first offset that is neither upstream, as far as is known, nor
// given up.
func (c *Cursor) reached() int64 { return max(c.Position, c.Skip) }

// branchOff returns the cursor of a new flow that begins at an offset: nothing
// that upstream knows of c holds for it.
func (c *Cursor) branchOff(at int64, branch int32) Cursor {
	n := NewCursor(at)
	n.Target, n.Incarnation, n.Branch, n.LogEpoch = c.Target, c.Incarnation, branch, c.LogEpoch
	return n
}

func (c *Cursor) check() error {
	if c.Position < 0 || c.Base > c.Position || c.Producer < -1 || c.Skip < 0 || c.Branch < 0 || c.LogEpoch < -1 {
		return fmt.Errorf("stored cursor makes no sense: %+v", *c)
	}
	return nil
}
