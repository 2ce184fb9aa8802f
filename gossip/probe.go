package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

var (
	// ErrRefused means that the member's machine answers and its process is
	// not there: nobody listens on its ports.
	ErrRefused = errors.New("connection refused: its process is not running")
	// ErrSilent means that nothing came back: machine, process or network.
	ErrSilent = errors.New("no answer")
	// ErrUnknownMember means that there is no member of that name.
	ErrUnknownMember = errors.New("unknown gateway")
)

// Probe asks a member now whether it is there. nil means that its process has
// answered; ErrRefused that it is gone, which takes one round trip to learn
// after a crash; ErrSilent that nobody can say.
func (m *Membership) Probe(ctx context.Context, name string) error {
	if err := m.probe(ctx, name); err != nil {
		return fmt.Errorf("gossip: probe of %s: %w", name, err)
	}
	return nil
}

func (m *Membership) probe(ctx context.Context, name string) error {
	list := m.list.Load()
	x, ok := m.roster.get(name)
	switch {
	case name == m.config.Name:
		return nil
	case list == nil:
		return ErrNotRunning
	case !ok:
		return ErrUnknownMember
	}
	udp, err := net.ResolveUDPAddr("udp", x.Addr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	refused, answered := make(chan bool, 1), make(chan bool, 1)
	go func() { refused <- becomesRefused(ctx, x) }()
	go func() {
		for range m.config.Profile.ProbeAttempts {
			if _, err := list.Ping(name, udp); err == nil {
				answered <- true
				return
			}
			if ctx.Err() != nil {
				break
			}
		}
		answered <- false
	}()
	for {
		select {
		case yes := <-refused:
			if yes {
				m.roster.reached(name, false)
				return ErrRefused
			}
			refused = nil
		case yes := <-answered:
			m.roster.reached(name, yes)
			if yes {
				return nil
			}
			return ErrSilent
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrSilent, ctx.Err())
		}
	}
}

// refusedWait is between two looks at the ports of a gateway that has not
// answered yet, at first and at most.
const refusedWait, refusedWaitMax = 2 * time.Millisecond, 50 * time.Millisecond

// becomesRefused looks until ctx ends. A process that was killed loses its
// sockets one after another: who is told by the first of them, and looks at once,
// finds the others open.
func becomesRefused(ctx context.Context, x Member) bool {
	for wait := refusedWait; ; wait = min(2*wait, refusedWaitMax) {
		if isRefused(ctx, x) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

// isRefused reports whether the member's machine says that nobody listens on
// its site port, nor on its gossip port: one alone may be closed while the
// process starts or stops.
func isRefused(ctx context.Context, x Member) bool {
	if x.Meta.Address != "" && !dialRefused(ctx, x.Meta.Address) {
		return false
	}
	return dialRefused(ctx, x.Addr)
}

func dialRefused(ctx context.Context, addr string) bool {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
