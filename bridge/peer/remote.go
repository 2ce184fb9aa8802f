package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"cistern/bridge/kafka"
	"cistern/gossip/metadata"
	"cistern/gossip/port"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// speaks are the requests between gateways. Another version is a new span here
// and in Server, never a change of what 9 and 12 mean: gateways of a site are
// updated one after the other.
var speaks = map[kmsg.Key]kafka.Span{
	kmsg.Produce: {Min: 9, Max: 9},
	kmsg.Fetch:   {Min: 12, Max: 12},
}

// remote is one life of one other gateway, and the connections to it.
type remote struct {
	peers *Peers
	to    metadata.Member
	log   *slog.Logger
	ctx   context.Context
	end   context.CancelFunc
	link  link
	polls polls

	mu     sync.Mutex
	failed int       // dials in a row
	next   time.Time // no dial before
}

func newRemote(p *Peers, to metadata.Member) *remote {
	r := &remote{peers: p, to: to, log: p.cfg.Logger.With("gateway", to.Name, "address", to.Address)}
	r.ctx, r.end = context.WithCancel(p.ctx)
	r.link = link{remote: r, wake: make(chan struct{}, 1)}
	r.polls = polls{remote: r, places: make(chan struct{}, FetchesMax)}
	return r
}

// run works until the remote is ended.
func (r *remote) run() {
	r.link.run(r.ctx)
	r.polls.close()
}

// dial opens a connection on which an answer takes at most timeout. After a
// failure it waits before it tries again, so callers need no pause of their own.
func (r *remote) dial(ctx context.Context, timeout time.Duration) (*kafka.Conn, error) {
	if err := r.pause(ctx); err != nil {
		return nil, err
	}
	dialing, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	conn, err := r.open(dialing, timeout)
	if ctx.Err() != nil && err != nil {
		return nil, ctx.Err()
	}
	r.dialed(err)
	return conn, err
}

// errOther: the address has passed to another gateway, as it can where a DHCP
// server gives them out. The site learns the new one when the gateway registers.
var errOther = errors.New("another gateway has its address")

func (r *remote) open(ctx context.Context, timeout time.Duration) (*kafka.Conn, error) {
	nc, err := r.peers.cfg.Dial(ctx, r.to.Address, Protocol)
	if err != nil {
		return nil, err
	}
	if name := port.PeerName(nc); name != "" && name != r.to.Name {
		nc.Close()
		return nil, fmt.Errorf("%w: %s answers", errOther, name)
	}
	cfg := kafka.Config{ClientID: r.peers.cfg.Name, DialTimeout: DialTimeout, RequestTimeout: timeout}
	return kafka.Open(ctx, nc, int32(r.to.ID), r.to.Address, cfg, speaks)
}

func (r *remote) pause(ctx context.Context) error {
	r.mu.Lock()
	wait := time.Until(r.next)
	r.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// dialed notes the outcome of a dial. Only the first failure in a row is said
// aloud.
func (r *remote) dialed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		if r.failed > 0 {
			r.log.Info("gateway is reached again", "attempts", r.failed+1)
		}
		r.failed, r.next = 0, time.Time{}
		return
	}
	if r.failed == 0 {
		r.log.Warn("cannot reach gateway", "error", err)
	}
	r.next = time.Now().Add(min(dialWaitMin<<min(r.failed, 10), dialWaitMax))
	r.failed++
	r.broken(err)
}

// broken passes a hang-up or a refusal on.
func (r *remote) broken(err error) {
	if r.peers.cfg.OnReset != nil && r.ctx.Err() == nil && isReset(err) {
		r.peers.cfg.OnReset(r.to, err)
	}
}

// isReset reports whether err says that the other side has gone, in contrast
// to not having answered.
func isReset(err error) bool {
	for _, reset := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE} {
		if errors.Is(err, reset) {
			return true
		}
	}
	return false
}
