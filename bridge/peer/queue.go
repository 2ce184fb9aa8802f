package peer

import (
	"cistern/gossip/metadata"
	"cistern/segstore/replica"
)

// queue holds what waits for one gateway: a FIFO for each partition, and the
// order in which partitions take their turns.
type queue struct {
	waiting map[metadata.PartitionID][]*replica.Append
	turns   []metadata.PartitionID // those that have something waiting, each once
	count   int
	bytes   int
}

// add appends a to its partition, or reports that there is no room.
func (q *queue) add(a *replica.Append) bool {
	if q.count >= QueueMax || q.count > 0 && q.bytes+len(a.Batch) > QueueBytesMax {
		return false
	}
	if q.waiting == nil {
		q.waiting = map[metadata.PartitionID][]*replica.Append{}
	}
	before := q.waiting[a.Partition]
	if len(before) == 0 {
		q.turns = append(q.turns, a.Partition)
	}
	q.waiting[a.Partition] = append(before, a)
	q.count++
	q.bytes += len(a.Batch)
	return true
}

// take moves the batches of the next request to dst: at most one of each
// partition, all with the same acks, within the limits of a request.
// Partitions that had to stay come first next time.
func (q *queue) take(dst []*replica.Append) []*replica.Append {
	var stay, again []metadata.PartitionID
	bytes := 0
	fits := func(a *replica.Append) bool {
		return len(dst) == 0 || len(dst) < ProducePartitionsMax &&
			wireAcks(a.Acks) == wireAcks(dst[0].Acks) && bytes+len(a.Batch) <= ProduceRequestBytes
	}
	for _, p := range q.turns {
		list := q.waiting[p]
		head := list[0]
		if !fits(head) {
			stay = append(stay, p)
			continue
		}
		dst = append(dst, head)
		bytes += len(head.Batch)
		q.count--
		list[0] = nil
		if list = list[1:]; len(list) > 0 {
			q.waiting[p] = list
			again = append(again, p)
		} else {
			delete(q.waiting, p)
		}
	}
	q.bytes -= bytes
	q.turns = append(stay, again...)
	return dst
}

// drain empties the queue into one list, in order for each partition.
func (q *queue) drain() []*replica.Append {
	var all []*replica.Append
	for _, p := range q.turns {
		all = append(all, q.waiting[p]...)
	}
	*q = queue{}
	return all
}

// wireAcks is what a request says: see the package comment for AcksNone.
func wireAcks(a metadata.Acks) metadata.Acks {
	if a == metadata.AcksNone {
		return metadata.AcksLeader
	}
	return a
}
