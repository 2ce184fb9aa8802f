package kafkasink

import (
	"context"
	"sync"
	"time"

	"cistern/bridge/drain"
	"cistern/bridge/kafka"
	"cistern/segstore/batch"
)

// Limits of a transaction. While one is open, readers of committed records see
// nothing behind its first record, of anybody.
const (
	// TxnBatchesMax is how many batches it has at most, and how many a lane
	// may hold unanswered.
	TxnBatchesMax = 64
	// TxnBytesMax bounds its bytes, TxnBytesMin what a slow link may shrink
	// that to; a single batch may be larger.
	TxnBytesMax = 4 << 20
	TxnBytesMin = 64 << 10
	// TxnFeedTime is for how long it takes batches in.
	TxnFeedTime = 2 * time.Second
	// TxnTimeout is when the broker aborts it.
	TxnTimeout = time.Minute
	// txnAbortTime is how long a lane that is closed tries to abort.
	txnAbortTime = time.Second
)

// txnLane is one partition's way in transaction mode. Its goroutine makes
// transactions of what is queued; a batch's result is told when its transaction
// is committed. Any failure ends the lane: whoever opens the next one fences this
// one and asks where we are. Nothing that was sent behind a failed batch may pass
// it, and only the broker could tell it from what is sent anew.
type txnLane struct {
	lane     lane // the producer that transactions are made under
	txn      kafka.Transactor
	position kafka.GroupOffset
	cancel   context.CancelFunc

	mu    sync.Mutex
	queue []*cargo // order of Send
	err   error    // the lane has ended: nothing is taken any more
	wake  chan struct{}

	// Of the goroutine.
	sequence int32 // of the next record: the broker counts from 0 for each epoch
	bytesMax int   // of the next transaction
}

// cargo is a batch of a transaction, or waiting for one.
type cargo struct {
	bytes    []byte
	first    int64
	next     int64 // offset behind it
	count    int32
	sequence int32
	upstream int64
	err      error
	done     func(upstream int64, err error)
}

// serveTxn starts a lane's goroutine.
func (s *Sink) serveTxn(l *txnLane) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return kafka.ErrClosed
	}
	ctx, cancel := context.WithCancel(s.running)
	l.cancel = cancel
	s.group.Go(func() {
		defer cancel()
		l.end(l.run(ctx))
	})
	return nil
}

// Target names where the lane leads.
func (l *txnLane) Target() string { return l.lane.Target() }

// Traits: a transaction is worth the more the more batches it has. Whatever an
// earlier lane has sent was fenced.
func (l *txnLane) Traits() drain.Traits {
	return drain.Traits{Window: TxnBatchesMax, Unnumbered: true}
}

// Send queues the batch. Its sequence number is of no use here: it counts what
// this epoch has sent.
func (l *txnLane) Send(b []byte, h *batch.Header, _ int32, done func(int64, error)) {
	l.lane.warnRetention(h)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		done(-1, l.err)
		return
	}
	l.queue = append(l.queue, &cargo{bytes: b, first: h.BaseOffset, next: h.NextOffset(), count: h.Count, upstream: -1, done: done})
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Close takes back what is in no transaction yet, and has an open one aborted.
func (l *txnLane) Close() {
	l.cancel()
	l.end(errWithdrawn)
}

// end refuses what is queued, and what comes later. The first reason counts.
func (l *txnLane) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = classifyTxn(err)
	}
	for _, c := range l.queue {
		c.done(-1, l.err)
	}
	l.queue = nil
}

// take returns the oldest batch that waits, if fits says so; nil: none.
func (l *txnLane) take(fits func(*cargo) bool) *cargo {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 || !fits(l.queue[0]) {
		return nil
	}
	c := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	return c
}

func (l *txnLane) waiting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) > 0
}

// run makes transactions until one fails.
func (l *txnLane) run(ctx context.Context) error {
	for {
		for !l.waiting() {
			select {
			case <-l.wake:
			case <-ctx.Done():
				return kafka.ErrClosed
			case <-l.lane.sender.conn.Done():
				return l.lane.sender.conn.Err()
			}
		}
		t := transaction{lane: l, answers: make(chan *cargo, TxnBatchesMax)}
		if err := t.run(ctx); err != nil {
			t.abandon(ctx)
			t.refuse()
			return err
		}
	}
}
