package mqttsink

import (
	"context"
	"time"

	"cistern/bridge/drain"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// key names one count of a partition's offsets.
type key struct {
	partition   metadata.PartitionID
	branch      int32
	incarnation int
}

// lane is one flow's way over a connection.
type lane struct {
	conn *conn
	key  key
	next int32 // the sequence number that has to come, -1: any; the queue's lock
}

// parcel is a batch on its way, or waiting for it. All but what Send gave is the
// queue's.
type parcel struct {
	lane     *lane
	bytes    []byte
	header   batch.Header
	sequence int32
	done     func(upstream int64, err error)
	since    time.Time

	begun   bool  // it has its place in the order of results
	handed  bool  // nothing of it will be published any more
	err     error // why not all of it
	unacked int   // messages under way
	last    int64 // offset of the last published
	acked   int64 // offset behind the last acknowledged; at first its base
}

// Open waits for the broker. MQTT does not tell what it has, so the position is
// the cursor's.
func (s *Sink) Open(ctx context.Context, p metadata.PartitionID, c *drain.Cursor, how drain.Opening) (drain.Lane, error) {
	conn, err := s.link.Await(ctx)
	if err != nil {
		return nil, err
	}
	to := drain.Target{Cluster: s.address, Topic: s.cfg.Prefix + p.Stream, Partition: p.Partition}
	if c.Producer < 0 || c.Target != to {
		c.Incarnate(s.cfg.Now(), to, 0, 0, 0)
	}
	return &lane{conn: conn, key: key{p, c.Branch, c.Incarnation}, next: -1}, nil
}

// Target names where the lane leads.
func (l *lane) Target() string { return l.conn.cfg.URL }

// Traits: small batches need not wait for each other.
func (l *lane) Traits() drain.Traits { return drain.Traits{Window: WindowBatches, Unnumbered: true} }

// Send queues a batch.
func (l *lane) Send(b []byte, h *batch.Header, sequence int32, done func(int64, error)) {
	l.conn.send(&parcel{lane: l, bytes: b, header: *h, sequence: sequence, done: done, acked: h.BaseOffset})
}

// Close takes back what has not left yet.
func (l *lane) Close() { l.conn.cancel(l) }

// sequenceMask: drain's sequence numbers run from 0 to 2^31-1 and begin anew.
const sequenceMask = 1<<31 - 1

// follows is the sequence number behind a parcel.
func (p *parcel) follows() int32 {
	return int32((int64(p.sequence) + int64(p.header.Count)) & sequenceMask)
}

// settle tells the result, and remembers how much of a batch that failed has
// arrived: it need not be sent again while this process lives.
func (p *parcel) settle(err error) {
	p.lane.conn.suspicion.remember(p.lane.key, p.header.BaseOffset, p.acked, err != nil)
	p.done(-1, err)
}
