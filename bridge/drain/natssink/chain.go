package natssink

import (
	"context"
	"errors"
	"sync"
)

// chain is a subject over one connection. What is known of its last message
// belongs to whoever has the token: the goroutine that publishes, or one that
// opens a lane. There is one publish at a time.
type chain struct {
	way     *way
	subject string
	token   chan struct{}

	// By the holder of the token.
	loaded  bool   // what follows is what the server has, as far as we know
	last    uint64 // the subject's last message, 0: none
	flows   flows
	records int // of an atomic batch at most, 0: GroupRecordsMax

	mu      sync.Mutex
	queue   []*parcel
	running bool
	careful bool // the next batch goes record by record, so that its error is exact
}

// chain returns the chain of a subject, making it if there is none.
func (w *way) chain(subject string) *chain {
	w.mu.Lock()
	defer w.mu.Unlock()
	ch := w.chains[subject]
	if ch == nil {
		ch = &chain{way: w, subject: subject, token: make(chan struct{}, 1)}
		w.chains[subject] = ch
	}
	return ch
}

func (ch *chain) acquire(ctx context.Context) error {
	select {
	case ch.token <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (ch *chain) release() { <-ch.token }

// send queues a parcel. One that does not follow what its lane has sent comes
// behind a failure that its sender has not heard of yet: published, it would
// leave a hole.
//
// Results are told under the lock, which keeps them in order.
func (ch *chain) send(p *parcel) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if l := p.lane; l.next >= 0 && l.next != p.sequence {
		p.done(-1, errWithdrawn)
		return
	}
	p.lane.next = p.follows()
	ch.queue = append(ch.queue, p)
	if !ch.running {
		ch.running = true
		ch.way.sink.group.Go(ch.run)
	}
}

// cancel takes a lane's parcels out of the queue.
func (ch *chain) cancel(l *lane) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.withdraw(l)
}

// withdraw fails what a lane has in the queue. ch.mu is held.
func (ch *chain) withdraw(l *lane) {
	kept := ch.queue[:0]
	for _, p := range ch.queue {
		if p.lane == l {
			p.done(-1, errWithdrawn)
		} else {
			kept = append(kept, p)
		}
	}
	clear(ch.queue[len(kept):])
	ch.queue = kept
}

// run publishes until the queue is empty.
func (ch *chain) run() {
	for {
		parcels, single := ch.take()
		if len(parcels) == 0 {
			return
		}
		ch.token <- struct{}{}
		done, seq, err := ch.publish(parcels, single)
		ch.release()
		ch.settle(parcels, done, seq, err)
	}
}

// take takes what may be published together: the oldest batch, and what follows
// it of its lane while it fits, or that one alone, to go record by record.
// Nothing: run has ended.
func (ch *chain) take() (group []*parcel, single bool) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if len(ch.queue) == 0 {
		ch.running = false
		ch.queue = nil
		return nil, false
	}
	records, bytes := 0, 0
	kept := ch.queue[:0]
	lane, full := ch.queue[0].lane, false
	for _, p := range ch.queue {
		records += int(p.header.Count)
		bytes += len(p.bytes)
		full = full || len(group) > 0 && (ch.careful || records > GroupRecordsMax || bytes > GroupBytesMax)
		if p.lane != lane || full {
			kept = append(kept, p)
			continue
		}
		group = append(group, p)
	}
	clear(ch.queue[len(kept):])
	ch.queue = kept
	return group, ch.careful
}

// settle tells results: done of the parcels are upstream, the one behind them
// has failed with err, and what follows in its lane goes back.
func (ch *chain) settle(parcels []*parcel, done int, seq uint64, err error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for i, p := range parcels[:done] {
		upstream := int64(-1)
		if i == done-1 && seq > 0 {
			upstream = int64(seq)
		}
		p.done(upstream, nil)
	}
	e, _ := errors.AsType[*apiError](err)
	ch.careful = e != nil && e.ErrCode == errCodeIncomplete
	if err == nil {
		return
	}
	failed := parcels[done]
	failed.lane.next = failed.sequence
	failed.done(-1, classify(err))
	for _, p := range parcels[done+1:] {
		p.done(-1, errWithdrawn)
	}
	ch.withdraw(failed.lane)
}
