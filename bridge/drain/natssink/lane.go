package natssink

import (
	"context"
	"errors"
	"fmt"

	"cistern/bridge/drain"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// lane is one flow's way into the chain of its partition.
type lane struct {
	chain *chain
	id    int64
	to    drain.Target

	seen uint64 // stream sequence that its flow had reached; the holder of the token's

	// next is the sequence number that has to come: behind a batch that failed
	// nothing is taken but that batch. -1: any. The chain's lock.
	next int32
}

// parcel is a batch on its way, or waiting for it.
type parcel struct {
	lane     *lane
	bytes    []byte
	header   batch.Header
	sequence int32
	done     func(upstream int64, err error)
}

// errWithdrawn is the result of what its lane took back, and of what came behind
// a batch that failed.
var errWithdrawn = errors.New("taken back before it was sent")

// Open finds how far partition p is on its subject.
func (s *Sink) Open(ctx context.Context, p metadata.PartitionID, c *drain.Cursor, how drain.Opening) (drain.Lane, error) {
	subject := expand(s.cfg.Subject, s.cfg.Site, p.Stream, p.Partition)
	if !validSubject(subject) {
		return nil, &drain.Error{Verdict: drain.Denied, Err: fmt.Errorf("%q can't be a subject", subject)}
	}
	w, err := s.link.Await(ctx)
	if err != nil {
		return nil, err
	}
	stream, err := w.usable(subject)
	if err != nil { // perhaps not any more
		if w, err = s.link.Refresh(ctx); err != nil {
			return nil, err
		}
		if stream, err = w.usable(subject); err != nil {
			return nil, err
		}
	}
	to := drain.Target{Cluster: s.cfg.Stream, Topic: subject, TopicID: stream.id(), Partition: p.Partition}
	ch := w.chain(subject)
	if err := ch.acquire(ctx); err != nil {
		return nil, err
	}
	defer ch.release()
	if err := ch.open(ctx, c, to, how); err != nil {
		return nil, classify(err)
	}
	own, _ := ch.flows.find(c.Producer)
	return &lane{chain: ch, id: c.Producer, to: to, seen: own.seq, next: -1}, nil
}

// Target names where the lane leads.
func (l *lane) Target() string { return l.to.Topic + " in " + l.to.Cluster }

// Traits: small batches are sent together.
func (l *lane) Traits() drain.Traits { return drain.Traits{Window: WindowBatches, Unnumbered: true} }

// Send queues a batch.
func (l *lane) Send(b []byte, h *batch.Header, sequence int32, done func(int64, error)) {
	l.chain.send(&parcel{lane: l, bytes: b, header: *h, sequence: sequence, done: done})
}

// Close takes back what has not left yet.
func (l *lane) Close() { l.chain.cancel(l) }

// sequenceMask: drain's sequence numbers run from 0 to 2^31-1 and begin anew.
const sequenceMask = 1<<31 - 1

// follows is the sequence number behind a parcel.
func (p *parcel) follows() int32 {
	return int32((int64(p.sequence) + int64(p.header.Count)) & sequenceMask)
}
