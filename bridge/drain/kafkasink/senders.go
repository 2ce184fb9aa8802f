package kafkasink

import (
	"context"
	"errors"

	"cistern/bridge/drain"
	"cistern/bridge/kafka"
)

// dial is an attempt to reach a broker, shared by all lanes that want it.
type dial struct {
	done   chan struct{}
	sender *sender
	err    error
}

// route is a way to a broker. Each flow has its own connection, so that what an
// outage left behind does not stand before fresh records in one TCP stream.
type route struct {
	node int32
	flow drain.Flow
}

// sender returns the working sender on a route, connecting if there is none.
func (s *Sink) sender(ctx context.Context, way route) (*sender, error) {
	s.mu.Lock()
	if s.running == nil {
		s.mu.Unlock()
		return nil, kafka.ErrClosed
	}
	d := s.senders[way]
	if d == nil {
		d = &dial{done: make(chan struct{})}
		s.senders[way] = d
		running := s.running
		s.group.Go(func() { s.serve(running, way, d) })
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
func (s *Sink) serve(ctx context.Context, way route, d *dial) {
	conn, err := s.client.Connect(ctx, way.node)
	if err != nil {
		s.drop(way, d)
		s.link.check(err)
		d.err = err
		close(d.done)
		return
	}
	d.sender = &sender{
		sink:   s,
		node:   way.node,
		conn:   conn,
		window: s.window(way),
		wake:   make(chan struct{}, 1),
		slots:  make(chan struct{}, RequestsInFlightMax),
	}
	close(d.done)
	stop := context.AfterFunc(ctx, conn.Close)
	defer stop()
	err = d.sender.run(ctx)
	s.drop(way, d)
	conn.Close()
	<-conn.Done() // every request in flight was told
	if ctx.Err() == nil && !errors.Is(err, kafka.ErrClosed) {
		s.link.check(d.sender.blame(err))
	}
	if errors.Is(err, kafka.ErrTimeout) {
		d.sender.window.late()
	}
	d.sender.refuse(err)
}

// window returns what is known of a route's speed.
func (s *Sink) window(way route) *window {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.windows[way]
	if w == nil {
		w = newWindow(s.cfg.RequestBytes, s.cfg.Client.RequestTimeout)
		s.windows[way] = w
	}
	return w
}

// drop lets the next lane connect anew.
func (s *Sink) drop(way route, d *dial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.senders[way] == d {
		delete(s.senders, way)
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
