package peer

import (
	"context"
	"errors"
	"log/slog"
	"net"

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
	// a reason to look at once whether it lives. Nil for nobody; must not block.
	OnReset func(to metadata.Member, err error)
	Logger  *slog.Logger // nil: slog.Default
}

// Peers reaches the other gateways. It implements replica.Peers.
type Peers struct{}

// New returns Peers. Nothing is dialed before the first call.
func New(cfg Config) (*Peers, error) { return nil, errors.New("soon") }

// Run works until ctx ends, then answers whatever waits, and returns.
func (p *Peers) Run(ctx context.Context) error { return nil }

// Fetch asks a leader; see replica.Peers.
func (p *Peers) Fetch(ctx context.Context, to metadata.Member, r *replica.FetchRequest) (*replica.FetchAnswer, error) {
	return nil, errors.New("soon")
}

// Produce hands batches to a leader; see replica.Peers.
func (p *Peers) Produce(to metadata.Member, batches []*replica.Append) {}

var _ replica.Peers = (*Peers)(nil)

// Server serves this gateway's replica.Service to its peers.
type Server struct {
	Service replica.Service
	Logger  *slog.Logger // nil: slog.Default
}

// Serve answers on the connections of ln until ctx ends or ln fails, and closes
// it.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error { return nil }
