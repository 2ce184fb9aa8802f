package source

import (
	"context"
	"errors"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// errStalled ends a connection whose window was full for too long.
var errStalled = errors.New("the window stayed full: either commits have stopped, or the broker keeps more messages in flight than the window holds")

// window keeps the messages of one connection from their arrival to their
// acknowledgement. Three goroutines move its three marks, which count messages
// since the connection began:
//
//	acked ≤ fed ≤ received ≤ acked + len(slots)
//
// paho's handler moves received, feed moves fed, acknowledge moves acked. The
// place of a message is its seq at the Appender; Complete comes back with it.
type window struct {
	mu       sync.Mutex
	slots    []slot // message n lies in slots[n % len(slots)]
	acked    uint64
	fed      uint64
	received uint64
	bytes    int64
	draining bool // no more is fed; end when all that was fed is acked

	room    chan struct{} // signals, 1-buffered: a slot is free,
	work    chan struct{} // a message is there to feed,
	settled chan struct{} // a message can be acked

	failed func(error) // a QoS 1 or 2 record was not committed; must not block
	lost   func(error) // the same for QoS 0, which nobody sends again
	stored func()
}

type slot struct {
	message mqtt.Message
	bytes   int64
	settled bool // stored, or not to be stored: it may be acked
}

func newWindow(size int) *window {
	return &window{
		slots:   make([]slot, size),
		room:    make(chan struct{}, 1),
		work:    make(chan struct{}, 1),
		settled: make(chan struct{}, 1),
		failed:  func(error) {},
		lost:    func(error) {},
		stored:  func() {},
	}
}

func (w *window) at(seq uint64) *slot { return &w.slots[seq%uint64(len(w.slots))] }

// put appends a message, waiting up to patience for a slot. settled says that
// it is not to be stored, only acknowledged in its turn.
func (w *window) put(ctx context.Context, m mqtt.Message, settled bool, patience time.Duration) error {
	size := int64(len(m.Topic()) + len(m.Payload()))
	var timeout <-chan time.Time
	for {
		if err := ctx.Err(); err != nil { // first: nothing may overtake a message that was turned away
			return err
		}
		if w.tryPut(slot{message: m, bytes: size, settled: settled}) {
			notify(w.work)
			return nil
		}
		if timeout == nil {
			timer := time.NewTimer(patience)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-w.room:
		case <-ctx.Done():
		case <-timeout:
			return errStalled
		}
	}
}

func (w *window) tryPut(s slot) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	used := w.received - w.acked
	// One message is always taken, however large: PacketBytesMax bounds it.
	if used == uint64(len(w.slots)) || used > 0 && w.bytes+s.bytes > WindowBytesMax {
		return false
	}
	*w.at(w.received) = s
	w.received++
	w.bytes += s.bytes
	return true
}

// next waits for the next message to store and returns it with its seq.
func (w *window) next(ctx context.Context) (uint64, mqtt.Message, error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, nil, err
		}
		if seq, m, ok := w.take(); ok {
			return seq, m, nil
		}
		select {
		case <-w.work:
		case <-ctx.Done():
		}
	}
}

func (w *window) take() (uint64, mqtt.Message, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.fed < w.received {
		seq := w.fed
		w.fed++
		if s := w.at(seq); !s.settled {
			return seq, s.message, true
		}
		notify(w.settled)
	}
	return 0, nil, false
}

// settle lets a message be acknowledged in its turn.
func (w *window) settle(seq uint64) {
	w.mu.Lock()
	w.at(seq).settled = true
	w.mu.Unlock()
}

// Complete implements ingest.Completion.
func (w *window) Complete(seq uint64, _ int64, err error) (flush bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if seq < w.acked || seq >= w.received {
		return false // never handed out: not ours to judge, and no reason to panic
	}
	s := w.at(seq)
	switch {
	case err == nil:
		w.stored()
	case s.message.Qos() == 0:
		w.lost(err)
	default:
		w.failed(err)
		return false
	}
	s.settled = true
	return true
}

// Flush implements ingest.Completion.
func (w *window) Flush() { notify(w.settled) }

// ready waits for messages that can be acknowledged and returns them in order
// of arrival, in run's memory. It is called by one goroutine, which calls
// release when it has acknowledged them.
func (w *window) ready(ctx context.Context, run []mqtt.Message) ([]mqtt.Message, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		run, done := w.collect(run[:0])
		if len(run) > 0 || done {
			return run, nil
		}
		select {
		case <-w.settled:
		case <-ctx.Done():
		}
	}
}

func (w *window) collect(run []mqtt.Message) (_ []mqtt.Message, done bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for seq := w.acked; seq < w.fed && w.at(seq).settled; seq++ {
		run = append(run, w.at(seq).message)
	}
	return run, w.draining && w.acked == w.fed
}

// release frees the n oldest slots.
func (w *window) release(n int) {
	w.mu.Lock()
	for range n {
		s := w.at(w.acked)
		w.bytes -= s.bytes
		*s = slot{}
		w.acked++
	}
	w.mu.Unlock()
	notify(w.room)
}

// drain makes ready end once everything that was fed is acknowledged.
func (w *window) drain() {
	w.mu.Lock()
	w.draining = true
	w.mu.Unlock()
	notify(w.settled)
}

// len is the number of messages that are not acknowledged.
func (w *window) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return int(w.received - w.acked)
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
