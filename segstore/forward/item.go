package forward

import (
	"fmt"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/replica"
)

// Item is one batch in a [Queue].
type Item struct {
	Data    []byte // one whole batch; nil when it left memory
	Records int32
	Acks    metadata.Acks
	Confirm bool // one copy on flash is all that was promised
	Owner   any  // the caller's; the queue does not look

	// Set when the item is in Effects.Answer.
	Offset int64 // at the leader, -1: not known
	Err    error

	given bool // the route's: the buffer is its owner's again

	since    time.Time
	producer batch.Producer
	numbered bool
	sent     int  // the generation it was sent in last, 0: never
	attempts int  // that have no answer yet
	doubt    bool // an attempt ended, and it may be at a leader all the same
	done     bool // Offset or Err is set
	refused  bool // by the leader, for good
	flash    bool // read back from the parked log
	parked   bool // base and next are where it lies there
	base     int64
	next     int64
}

// InFlight says that an attempt without an answer still reads Data's bytes.
func (it *Item) InFlight() bool { return it.attempts > 0 }

// Attempt is one try to bring an item to its leader.
type Attempt struct {
	replica.Append
	Item       *Item
	generation int
	first      bool // nothing before it was unanswered or under way when it was sent
}

// identify writes p into the batch's header. Its CRC is corrected, not
// computed, so what is wrong with the bytes stays wrong.
func (it *Item) identify(p batch.Producer) error {
	var buf [batch.HeaderLen]byte
	r := batch.Rewrite{LeaderEpoch: -1, Producer: p, KeepClockUnset: true}
	header, err := r.AppendHeader(buf[:0], it.Data)
	if err != nil {
		return fmt.Errorf("numbering a batch: %w", err)
	}
	copy(it.Data, header)
	it.producer, it.numbered = p, true
	return nil
}

// after returns the sequence of the batch that follows.
func (it *Item) after() batch.Producer {
	p := it.producer
	p.Sequence += it.Records
	return p
}

// identity numbers batches one after the other. A producer whose numbers run
// out gives way to a new one.
type identity struct {
	next  batch.Producer
	taken batch.Producer // what follows the last batch of this producer that the leader took
	newID func() int64
}

func (n *identity) renew() {
	n.next = batch.Producer{ID: n.newID()}
	n.taken = n.next
}

// take notes that the leader has a batch.
func (n *identity) take(it *Item) {
	if p := it.after(); p.ID == n.taken.ID && p.Sequence > n.taken.Sequence {
		n.taken = p
	}
}

func (n *identity) assign(it *Item) error {
	if n.next.ID == 0 || n.next.Sequence > SequenceMax-it.Records {
		n.renew()
	}
	if err := it.identify(n.next); err != nil {
		return err
	}
	n.next = it.after()
	return nil
}

// Remap gives parked batches another identity than they have on flash: a
// leader that forgot their producer gets them under a new one. The sequence of
// a record is its distance from From, since the parked log counts records too.
type Remap struct {
	From, To int64
	Producer int64
}

func (r Remap) covers(offset int64) bool { return offset >= r.From && offset < r.To }

func (r Remap) producer(offset int64) batch.Producer {
	return batch.Producer{ID: r.Producer, Sequence: int32(offset - r.From)}
}
