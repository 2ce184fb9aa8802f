package forward

import (
	"cmp"
	"slices"
	"time"

	"cistern/gossip/metadata"
)

// Status of a Forwarder.
type Status struct {
	Partitions []PartitionStatus // those whose batches are not at their leader, by name
	Counts     Counts            // of all partitions, since the start
	GivenUp    int64             // records that the process before this one held, confirmed to nobody
}

// PartitionStatus is what one partition has here that its leader does not have.
type PartitionStatus struct {
	Partition metadata.PartitionID
	Parked    int64     // records parked, not known to be at the leader
	Held      int64     // records among them whose senders wait for an answer
	Since     time.Time // when the backlog began; for a former process's, the start
	Waiting   int       // batches in memory
	Cause     string    // why they are not there, "": they are on their way
}

// Status says what is parked here, and what was.
func (f *Forwarder) Status() Status {
	s := Status{GivenUp: f.givenUp}
	for _, r := range f.all() {
		r.mu.Lock()
		p := r.q.status()
		s.Counts.add(r.q.Counts())
		r.mu.Unlock()
		if p.Parked > 0 || p.Cause != "" {
			s.Partitions = append(s.Partitions, p)
		}
	}
	slices.SortFunc(s.Partitions, func(a, b PartitionStatus) int {
		return cmp.Or(cmp.Compare(a.Partition.Stream, b.Partition.Stream), cmp.Compare(a.Partition.Partition, b.Partition.Partition))
	})
	return s
}

func (q *Queue) status() PartitionStatus {
	p := PartitionStatus{Partition: q.partition, Parked: q.end - q.pos, Waiting: len(q.parking) + len(q.window) + len(q.fresh)}
	if p.Parked > 0 {
		p.Since = q.since
	}
	for _, it := range q.held {
		p.Held += int64(it.Records)
	}
	if q.cause != nil {
		p.Cause = q.cause.Error()
	}
	return p
}

func (c *Counts) add(d Counts) {
	c.Parked += d.Parked
	c.Confirmed += d.Confirmed
	c.HandedOver += d.HandedOver
	c.Resent += d.Resent
	c.Renewed += d.Renewed
	c.Refused += d.Refused
	c.Lost += d.Lost
}
