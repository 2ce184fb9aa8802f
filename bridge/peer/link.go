package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"cistern/bridge/kafka"
	"cistern/gossip/metadata"
	"cistern/segstore/replica"
)

var errQueueFull = errors.New("too much waits for it already")

// link is the way of batches to one gateway: a queue, and one goroutine that
// keeps a connection and sends.
type link struct {
	remote *remote
	wake   chan struct{} // something may be sent, capacity 1

	mu       sync.Mutex
	closed   bool
	queue    queue
	broken   []*replica.Append // queued when the connection broke, to be refused
	requests int               // in flight
	bytes    int               // of their records
}

// add queues batches. Once there is no room for one, those after it are
// refused as well. Nobody is called back from here: the caller may hold locks.
func (l *link) add(batches []*replica.Append) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, a := range batches {
		switch {
		case len(a.Batch) > metadata.BatchBytesMax: // the leader would hang up on the frame
			go finish(a, -1, fmt.Errorf("%w: %d bytes, at most %d", replica.ErrTooLarge, len(a.Batch), metadata.BatchBytesMax))
		case l.closed || !l.queue.add(a):
			go l.refuse(batches[i:], errQueueFull)
			l.wakeUp()
			return
		}
	}
	l.wakeUp()
}

func (l *link) wakeUp() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run sends until ctx ends. Nothing is dialed as long as nothing waits.
func (l *link) run(ctx context.Context) {
	for l.await(ctx) {
		conn, err := l.remote.dial(ctx, ProduceWait+patience(bytesInFlight+metadata.BatchBytesMax))
		if err != nil {
			l.refuseQueued(err)
			continue
		}
		err = l.send(ctx, conn)
		conn.Close()
		<-conn.Done() // all that was sent is answered now
		l.refuseBroken(err)
		if err != nil && ctx.Err() == nil {
			l.remote.log.Warn("connection to gateway is lost", "error", err)
			l.remote.broken(err)
		}
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.refuseQueued(context.Cause(ctx))
}

// await waits for the first batch. It reports false when ctx has ended.
func (l *link) await(ctx context.Context) bool {
	for ctx.Err() == nil {
		if l.waits() {
			return true
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
		}
	}
	return false
}

func (l *link) waits() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.count > 0
}

// send works on one connection until that ends, ctx does, or nothing was to be
// sent for a while; only then the error is nil.
func (l *link) send(ctx context.Context, conn *kafka.Conn) error {
	stop := context.AfterFunc(ctx, conn.Close) // a write that is stuck ends too
	defer stop()
	idle := time.NewTimer(idleAfter)
	defer idle.Stop()
	var enc encoder
	for {
		if call := l.take(); call != nil {
			err := conn.Start(enc.request(call.batches), call.answered)
			enc.release()
			if err != nil {
				conn.Close()
				<-conn.Done() // what was sent before is answered before
				call.answered(nil, err)
				return err
			}
			continue
		}
		idle.Reset(idleAfter)
		select {
		case <-l.wake:
		case <-conn.Done():
			return conn.Err()
		case <-idle.C:
			if l.idle() {
				return nil
			}
		}
	}
}

func (l *link) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests == 0 && l.queue.count == 0
}

// take returns the next request, nil when none may be sent now.
func (l *link) take() *call {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.queue.count == 0 || l.requests >= RequestsInFlight || l.bytes >= bytesInFlight {
		return nil
	}
	c := &call{link: l, batches: l.queue.take(nil)}
	c.sort()
	for _, a := range c.batches {
		c.bytes += len(a.Batch)
	}
	l.requests++
	l.bytes += c.bytes
	return c
}

// ended gives back the place of a request. When it got no answer, what is
// queued must not overtake it: it is set aside, to be refused in its turn.
// What comes from now on goes out on the next connection.
func (l *link) ended(c *call, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests--
	l.bytes -= c.bytes
	if err != nil {
		l.broken = append(l.broken, l.queue.drain()...)
	}
	l.wakeUp()
}

func (l *link) refuseBroken(err error) {
	l.mu.Lock()
	batches := l.broken
	l.broken = nil
	l.mu.Unlock()
	l.refuse(batches, err)
}

func (l *link) refuse(batches []*replica.Append, err error) {
	if len(batches) > 0 {
		refuse(batches, unreachable(l.remote.to, err))
	}
}

func (l *link) refuseQueued(err error) {
	l.mu.Lock()
	batches := l.queue.drain()
	l.mu.Unlock()
	l.refuse(batches, err)
}
