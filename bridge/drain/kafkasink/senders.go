package kafkasink

import (
	"context"
	"errors"

	"cistern/bridge/kafka"
)

// dial is an attempt to reach a broker, shared by all lanes that want it.
type dial struct {
	done   chan struct{}
	sender *sender
	err    error
}

// sender returns the working sender to a broker, connecting if there is none.
func (s *Sink) sender(ctx context.Context, node int32) (*sender, error) {
	s.mu.Lock()
	if s.running == nil {
		s.mu.Unlock()
		return nil, kafka.ErrClosed
	}
	d := s.senders[node]
	if d == nil {
		d = &dial{done: make(chan struct{})}
		s.senders[node] = d
		running := s.running
		s.group.Go(func() { s.serve(running, node, d) })
	}
	s.mu.Unlock()
	select {
	case <-d.done:
		return d.sender, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve connects, sends until the connection ends, and tells why.
func (s *Sink) serve(ctx context.Context, node int32, d *dial) {
	conn, err := s.client.Connect(ctx, node)
	if err != nil {
		s.drop(node, d)
		s.link.check(err)
		d.err = err
		close(d.done)
		return
	}
	d.sender = &sender{
		sink:  s,
		node:  node,
		conn:  conn,
		wake:  make(chan struct{}, 1),
		slots: make(chan struct{}, RequestsInFlightMax),
	}
	close(d.done)
	stop := context.AfterFunc(ctx, conn.Close)
	defer stop()
	err = d.sender.run(ctx)
	s.drop(node, d)
	conn.Close()
	<-conn.Done() // every request in flight was told
	if ctx.Err() == nil && !errors.Is(err, kafka.ErrClosed) {
		s.link.check(d.sender.blame(err))
	}
	d.sender.refuse(err)
}

// drop lets the next lane connect anew.
func (s *Sink) drop(node int32, d *dial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.senders[node] == d {
		delete(s.senders, node)
	}
}

// hangUp closes all produce connections.
func (s *Sink) hangUp() {
	s.mu.Lock()
	dials := make([]*dial, 0, len(s.senders))
	for _, d := range s.senders {
		dials = append(dials, d)
	}
	s.mu.Unlock()
	for _, d := range dials {
		select {
		case <-d.done:
			if d.sender != nil {
				d.sender.conn.Close()
			}
		default: // it dials by newer metadata than what ended the others
		}
	}
}
