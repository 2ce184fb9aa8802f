package kafkasink

import (
	"context"
	"fmt"
	"time"

	"cistern/bridge/drain"
	"cistern/bridge/kafka"
	"cistern/segstore/batch"
)

// transaction is some batches and the position behind them, which become
// visible together.
//
//	coordinator   AddPartitionsToTxn ─┬─ AddOffsetsToTxn ─┐             EndTxn
//	leader                            └─ Produce, up to 5 ┴┐           ┌┘
//	group                               in flight          TxnOffsetCommit
type transaction struct {
	lane    *txnLane
	cargo   []*cargo // in the order of Send
	bytes   int
	out     int // of cargo, not answered yet
	answers chan *cargo
	failed  bool      // one was refused: take no more
	began   time.Time // of taking batches in
	open    bool      // the coordinator may have it
}

func (t *transaction) run(ctx context.Context) error {
	l := t.lane
	client := l.lane.sink.client
	t.open = true
	err := patiently(ctx, func() error { return client.AddPartition(ctx, l.txn, l.lane.to.Topic, l.lane.to.Partition) })
	if err != nil {
		return err
	}
	added := make(chan error, 1)
	go func() {
		added <- patiently(ctx, func() error { return client.AddGroup(ctx, l.txn, l.position.Group) })
	}()
	t.began = time.Now()
	t.produce(ctx)
	l.adapt(t.bytes, time.Since(t.began))
	if err := <-added; err != nil {
		return t.everybody(err)
	}
	if ctx.Err() != nil {
		return t.everybody(kafka.ErrClosed)
	}
	good, failure := t.judge()
	if good > 0 {
		if err := t.finish(ctx, good); err != nil {
			return err
		}
	}
	return failure
}

// produce sends what is queued, and what is queued meanwhile, and returns when
// all of it was answered.
func (t *transaction) produce(ctx context.Context) {
	closed := ctx.Done()
	for {
		if closed != nil {
			t.feed()
		}
		if t.out == 0 {
			return
		}
		select {
		case c := <-t.answers:
			t.out--
			t.failed = t.failed || c.err != nil
		case <-t.lane.wake:
		case <-closed:
			closed = nil
			t.lane.lane.Close() // what has not left is answered at once
		}
	}
}

// feed sends as many batches as may be in flight.
func (t *transaction) feed() {
	for !t.failed && t.out < RequestsInFlightMax && len(t.cargo) < TxnBatchesMax && time.Since(t.began) < TxnFeedTime {
		c := t.lane.take(func(c *cargo) bool { return len(t.cargo) == 0 || t.bytes+len(c.bytes) <= t.lane.bytesMax })
		if c == nil {
			return
		}
		t.cargo = append(t.cargo, c)
		t.bytes += len(c.bytes)
		t.out++
		t.send(c)
	}
}

// send gives a batch its identity in this epoch, in place, and has it sent.
func (t *transaction) send(c *cargo) {
	l := t.lane
	c.sequence = l.sequence
	l.sequence = nextSequence(l.sequence, c.count)
	rewrite := batch.Rewrite{
		LeaderEpoch:   -1,
		Producer:      batch.Producer{ID: l.txn.Producer, Epoch: l.txn.Epoch, Sequence: c.sequence},
		Transactional: true,
	}
	var space [batch.HeaderLen]byte
	header, err := rewrite.AppendHeader(space[:0], c.bytes)
	if err != nil {
		c.err = &drain.Error{Verdict: drain.Corrupt, Reason: "REWRITE", Err: fmt.Errorf("batch of offsets %d to %d: %w", c.first, c.next-1, err)}
		t.answers <- c
		return
	}
	copy(c.bytes, header)
	l.lane.sender.send(&parcel{
		lane:  &l.lane,
		txn:   &l.txn.ID,
		batch: kafka.Batch{Topic: l.lane.to.Topic, Partition: l.lane.to.Partition, Bytes: c.bytes},
		count: c.count,
		done: func(upstream int64, err error) {
			c.upstream, c.err = upstream, err
			t.answers <- c
		},
	})
}

// nextSequence is the number of the record behind count records from sequence
// on: after 2^31-1 comes 0.
func nextSequence(sequence, count int32) int32 {
	return int32((int64(sequence) + int64(count)) & (1<<31 - 1))
}

// judge returns how many batches are to be committed, and what ends the lane. A
// batch that the broker refused for good was not appended, and so neither was
// what came behind it: what stands before it is committed. After any other
// failure only the next owner of the transactional id knows what there is.
func (t *transaction) judge() (good int, failure error) {
	for good < len(t.cargo) && t.cargo[good].err == nil {
		good++
	}
	if good == len(t.cargo) {
		return good, nil
	}
	culprit := t.cargo[good]
	for _, c := range t.cargo[good+1:] {
		if c.err == nil {
			return 0, t.everybody(fmt.Errorf("the batch at offset %d was refused, and the one at %d taken: %v", culprit.first, c.first, culprit.err))
		}
	}
	switch drain.VerdictOf(culprit.err) {
	case drain.Refused, drain.Corrupt:
		return good, fmt.Errorf("a new lane is needed behind a batch that was refused: %v", culprit.err)
	}
	return 0, t.everybody(culprit.err)
}

// everybody gives all batches the same failure: what is in a transaction has one
// fate.
func (t *transaction) everybody(failure error) error {
	for _, c := range t.cargo {
		c.err = classifyTxn(failure)
	}
	return failure
}

// finish commits the first good batches and tells them.
func (t *transaction) finish(ctx context.Context, good int) error {
	l := t.lane
	client := l.lane.sink.client
	at := l.position
	at.Offset = t.cargo[good-1].next
	if err := patiently(ctx, func() error { return client.CommitInTxn(ctx, l.txn, at) }); err != nil {
		return t.everybody(err)
	}
	if err := patiently(ctx, func() error { return client.EndTxn(ctx, l.txn, true) }); err != nil {
		return t.everybody(err)
	}
	l.lane.sink.link.Answered()
	t.open = false
	for _, c := range t.cargo[:good] {
		c.done(c.upstream, nil)
	}
	t.cargo = t.cargo[good:]
	return nil
}

// refuse tells what is not committed.
func (t *transaction) refuse() {
	for _, c := range t.cargo {
		c.done(-1, c.err)
	}
	t.cargo = nil
}

// abandon aborts a transaction whose lane was closed, so that readers of
// committed records need not wait for it. It is a courtesy: the next owner of the
// transactional id does the same. And it is done as that one does it, by a new
// epoch: what was sent and not answered may arrive behind the abort, and brokers
// before Kafka 3.6 would take it in the old one, where the next commit makes it
// visible a second time.
func (t *transaction) abandon(ctx context.Context) {
	if !t.open || ctx.Err() == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), txnAbortTime)
	defer cancel()
	l := t.lane
	_, err := l.lane.sink.client.InitTransactions(ctx, l.txn.Node, l.txn.ID, TxnTimeout)
	if err != nil && !busy(err) { // busy: with aborting it
		l.lane.sink.cfg.Logger.Debug("an open transaction is left to the broker", "id", l.txn.ID, "error", err)
	}
}

// adapt sets the size of the next transaction by what this one took: it is to
// be over in a third of the time that the broker gives it.
func (l *txnLane) adapt(bytes int, took time.Duration) {
	if bytes == 0 {
		return
	}
	perSecond := float64(bytes) / max(took, time.Millisecond).Seconds()
	l.bytesMax = int(min(max(perSecond*(TxnTimeout/3).Seconds(), TxnBytesMin), TxnBytesMax))
}
