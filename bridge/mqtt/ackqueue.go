package mqtt

import "cistern/bridge/mqtt/packet"

// AckQueue keeps one client's confirmations in the order of its PUBLISHes,
// whatever the order in which partitions commit: an entry leaves when it and
// everything before it is settled. Pure bookkeeping, no locks, no I/O.
//
// It is a ring that grows on demand up to the window its owner holds.
type AckQueue struct {
	ring []Ack
	head uint64 // seq of the oldest entry
	tail uint64 // seq of the next entry
}

// Ack is what a client will be told about one PUBLISH.
type Ack struct {
	PacketID uint16
	QoS      byte
	Reason   packet.Reason
	settled  bool
}

const ackRingMin = 8

// Len returns the number of entries that did not leave yet.
func (q *AckQueue) Len() int { return int(q.tail - q.head) }

// Push adds an unsettled entry and returns its seq.
func (q *AckQueue) Push(id uint16, qos byte) uint64 {
	if q.Len() == len(q.ring) {
		q.grow()
	}
	seq := q.tail
	*q.at(seq) = Ack{PacketID: id, QoS: qos}
	q.tail++
	return seq
}

// Settle records the outcome of the entry seq. Entries that left, or that
// never were, are ignored.
func (q *AckQueue) Settle(seq uint64, reason packet.Reason) {
	if seq-q.head >= q.tail-q.head {
		return
	}
	a := q.at(seq)
	a.settled, a.Reason = true, reason
}

// Pop removes and returns the oldest entry, if it is settled.
func (q *AckQueue) Pop() (Ack, bool) {
	if q.head == q.tail || !q.at(q.head).settled {
		return Ack{}, false
	}
	a := *q.at(q.head)
	q.head++
	if q.head == q.tail && len(q.ring) > ackRingMin {
		q.ring = nil // idle clients keep nothing
	}
	return a, true
}

// Waiting reports whether a PUBLISH of this packet id is unsettled.
func (q *AckQueue) Waiting(id uint16) bool {
	for seq := q.head; seq != q.tail; seq++ {
		if a := q.at(seq); a.PacketID == id && !a.settled {
			return true
		}
	}
	return false
}

// at works because the ring's length is a power of two.
func (q *AckQueue) at(seq uint64) *Ack { return &q.ring[seq&uint64(len(q.ring)-1)] }

func (q *AckQueue) grow() {
	old := *q
	q.ring = make([]Ack, max(ackRingMin, 2*len(old.ring)))
	for seq := old.head; seq != old.tail; seq++ {
		*q.at(seq) = *old.at(seq)
	}
}
