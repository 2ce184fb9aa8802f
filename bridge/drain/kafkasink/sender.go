package kafkasink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"cistern/bridge/kafka"
)

// sender owns the produce connection to one broker. Lanes queue parcels in
// order; its goroutine makes requests of them.
type sender struct {
	sink   *Sink
	node   int32
	conn   *kafka.Conn
	window *window

	mu    sync.Mutex
	queue []*parcel // order of send
	err   error     // the connection ended: nothing is taken any more
	lost  bool      // a request was not answered
	wake  chan struct{}
	slots chan struct{} // taken by each request in flight
}

// send queues a parcel. Its result always comes through done.
func (s *sender) send(p *parcel) {
	s.mu.Lock()
	err := s.err
	if err == nil && p.lane.halted {
		err = errHalted
	}
	if err == nil {
		s.queue = append(s.queue, p)
	}
	s.mu.Unlock()
	if err != nil {
		p.done(-1, err)
		return
	}
	s.nudge()
}

// nudge has the sender look at its queue again.
func (s *sender) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// errHalted is the result of parcels behind one that failed.
var errHalted = errors.New("not sent, since a batch before it failed")

// halt lets nothing of a lane leave any more.
func (s *sender) halt(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.halted = true
}

// errWithdrawn is the result of parcels that their lane took back.
var errWithdrawn = errors.New("taken back before it was sent")

// cancel takes a lane's parcels out of the queue.
func (s *sender) cancel(l *lane) {
	s.mu.Lock()
	var taken []*parcel
	kept := s.queue[:0]
	for _, p := range s.queue {
		if p.lane == l {
			taken = append(taken, p)
		} else {
			kept = append(kept, p)
		}
	}
	clear(s.queue[len(kept):])
	s.queue = kept
	s.mu.Unlock()
	for _, p := range taken {
		p.done(-1, errWithdrawn)
	}
}

// refuse ends the sender: what is queued and what comes later fails with err.
func (s *sender) refuse(err error) {
	s.mu.Lock()
	s.err = fmt.Errorf("connection to broker %d: %w", s.node, err)
	left, why := s.queue, s.err
	s.queue = nil
	s.mu.Unlock()
	for _, p := range left {
		p.done(-1, why)
	}
}

// blame returns err when somebody has lost something by it. A broker that
// closes a connection that was idle, as they do after some minutes, is no reason
// to call the uplink broken; it is only one to look.
func (s *sender) blame(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.lost && len(s.queue) == 0 {
		return nil
	}
	return err
}

// run makes requests until the connection ends.
func (s *sender) run(ctx context.Context) error {
	for {
		select {
		case s.slots <- struct{}{}:
		case <-s.conn.Done():
			return s.conn.Err()
		}
		parcels, err := s.collect(ctx)
		if err != nil {
			return err
		}
		if err := s.request(parcels); err != nil {
			return err
		}
	}
}

// collect waits for parcels, and for the time when they may go: not while the
// broker wants silence. It then takes the oldest of each upstream partition, as
// many as fit a request.
func (s *sender) collect(ctx context.Context) ([]*parcel, error) {
	for {
		if err := pause(ctx, s.conn.Throttled()); err != nil {
			return nil, err
		}
		if parcels, _ := s.take(); len(parcels) > 0 {
			return parcels, nil
		}
		select {
		case <-s.wake:
		case <-s.conn.Done():
			return nil, s.conn.Err()
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take takes parcels from the queue for one request, as many as fit it and the
// window. A broker accepts one batch per partition in it, and of one transactional
// id only; what must wait keeps its order, and so does everything behind it in the
// same partition.
func (s *sender) take() (parcels []*parcel, size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	room, idle := s.window.room()
	limit := min(room, s.sink.cfg.RequestBytes)
	type spot struct {
		topic     string
		partition int32
	}
	passed := map[spot]bool{}
	kept := s.queue[:0]
	full := false
	for _, p := range s.queue {
		at, bytes := spot{p.batch.Topic, p.batch.Partition}, len(p.batch.Bytes)
		if p.lane.halted { // is about to be taken back
			kept = append(kept, p)
			continue
		}
		if len(parcels) == 0 && !idle && bytes > room {
			full = true // the oldest has to wait, and is not overtaken for ever
		}
		fits := len(parcels) == 0 || p.txn == parcels[0].txn && size+bytes <= limit
		if full || passed[at] || !fits {
			kept = append(kept, p)
		} else {
			parcels = append(parcels, p)
			size += bytes
		}
		passed[at] = true
	}
	clear(s.queue[len(kept):])
	s.queue = kept
	return parcels, size
}

// request sends parcels. From here on their results come from the connection.
func (s *sender) request(parcels []*parcel) error {
	batches := make([]kafka.Batch, len(parcels))
	size := 0
	for i, p := range parcels {
		batches[i] = p.batch
		size += len(p.batch.Bytes)
	}
	sent := time.Now()
	extra := s.window.sent(size)
	err := s.conn.Produce(parcels[0].txn, batches, extra, func(results []kafka.Produced, err error) {
		<-s.slots
		if err != nil {
			s.window.lost(size)
			s.fail(parcels, err)
			return
		}
		s.window.answered(size, sent)
		s.nudge() // there is room again
		s.sink.link.Answered()
		for i, p := range parcels {
			p.settle(results[i])
		}
	})
	if err != nil {
		s.window.lost(size)
		s.fail(parcels, err)
	}
	return err
}

func (s *sender) fail(parcels []*parcel, err error) {
	s.mu.Lock()
	s.lost = true
	s.mu.Unlock()
	for _, p := range parcels {
		p.done(-1, classify(err))
	}
}
