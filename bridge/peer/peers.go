package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"cistern/gossip/metadata"
	"cistern/segstore/replica"
)

// Protocol is the name under which gateways dial each other for data.
const Protocol = "cistern-kafka"

// Config says how peers are reached.
type Config struct {
	Name string // of this gateway, as the others' logs show it
	// Dial opens a secured connection that speaks protocol.
	Dial func(ctx context.Context, addr, protocol string) (net.Conn, error)
	// OnReset is told when a gateway hung up or refused a connection, which is
	// a reason to look at once whether it lives; silence is not. Nil for
	// nobody. It must not block.
	OnReset func(to metadata.Member, err error)
	Logger  *slog.Logger // nil: slog.Default
}

// Peers reaches the other gateways, from New until Run ends. It implements
// replica.Peers.
type Peers struct {
	cfg  Config
	ctx  context.Context // ends with Run
	end  context.CancelFunc
	work sync.WaitGroup // one for each remote

	mu      sync.Mutex
	remotes map[metadata.NodeID]*remote
}

var _ replica.Peers = (*Peers)(nil)

var errStopped = errors.New("this gateway stops")

// New returns Peers. Nothing is dialed before the first call.
func New(cfg Config) (*Peers, error) {
	if cfg.Dial == nil {
		return nil, errors.New("peer: Config.Dial is missing")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	p := &Peers{cfg: cfg, remotes: map[metadata.NodeID]*remote{}}
	p.ctx, p.end = context.WithCancel(context.Background())
	return p, nil
}

// Run works until ctx ends. It returns when every Append was answered and every
// connection is closed.
func (p *Peers) Run(ctx context.Context) error {
	<-ctx.Done()
	p.mu.Lock()
	p.end()
	for id := range p.remotes {
		p.drop(id)
	}
	p.mu.Unlock()
	p.work.Wait()
	return nil
}

// Produce hands batches to a leader, in order, and returns at once; see
// replica.Peers.
func (p *Peers) Produce(to metadata.Member, batches []*replica.Append) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.remote(to)
	if r == nil {
		go refuse(batches, unreachable(to, errStopped))
		return
	}
	r.link.add(batches)
}

// Drop ends the connections to a gateway at once. Whatever waits for it is
// answered with ErrUnreachable, without waiting for a time-out: the site has
// found it dead, or removed it. It can be reached again by the next call.
func (p *Peers) Drop(id metadata.NodeID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(id)
}

func (p *Peers) drop(id metadata.NodeID) {
	if r := p.remotes[id]; r != nil {
		r.end()
		delete(p.remotes, id)
	}
}

// remote returns the connections to a gateway, nil once Run has ended.
// Those to an earlier life or address of it are ended. A caller who knows
// only that earlier life gets the present one, whose leader will judge.
func (p *Peers) remote(to metadata.Member) *remote {
	if p.ctx.Err() != nil {
		return nil
	}
	r := p.remotes[to.ID]
	if r != nil && (r.to.Incarnation > to.Incarnation || r.to.Incarnation == to.Incarnation && r.to.Address == to.Address) {
		return r
	}
	p.drop(to.ID)
	r = newRemote(p, to)
	p.remotes[to.ID] = r
	p.work.Go(r.run)
	return r
}

// refuse answers batches that were not sent or got no answer.
func refuse(batches []*replica.Append, err error) {
	for _, a := range batches {
		finish(a, -1, err)
	}
}

func finish(a *replica.Append, base int64, err error) {
	a.BaseOffset, a.Err = base, err
	a.Done(a)
}

func unreachable(to metadata.Member, cause error) error {
	return fmt.Errorf("%w: gateway %s (%s): %w", replica.ErrUnreachable, to.Name, to.Address, cause)
}
