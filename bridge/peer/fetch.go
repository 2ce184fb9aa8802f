package peer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cistern/bridge/kafka"
	"cistern/gossip/metadata"
	"cistern/segstore/replica"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// polls are the connections for Fetch to one gateway: each Fetch has one to
// itself while it lasts, and leaves it to the next.
type polls struct {
	remote *remote
	places chan struct{} // taken by each Fetch under way

	mu     sync.Mutex
	idle   []*kafka.Conn // at most FetchesMax
	closed bool
}

// Fetch asks a leader and waits for its answer. An error wraps ErrUnreachable
// unless the request itself is wrong. When ctx ends, the leader is told so by
// the end of the connection.
func (p *Peers) Fetch(ctx context.Context, to metadata.Member, r *replica.FetchRequest) (*replica.FetchAnswer, error) {
	if len(r.Partitions) > PartitionsMax {
		return nil, fmt.Errorf("fetch of %d partitions from gateway %s: at most %d are asked for at once",
			len(r.Partitions), to.Name, PartitionsMax)
	}
	resp, err := p.fetch(ctx, to, fetchRequest(r))
	if err != nil {
		return nil, err
	}
	return readFetchResponse(resp, to.Name), nil
}

// Recall asks a copy for what flash lost here: a Fetch as a consumer sends it, which
// whoever keeps a copy answers.
func (p *Peers) Recall(ctx context.Context, to metadata.Member, r *replica.RecallRequest) (*replica.RecallAnswer, error) {
	resp, err := p.fetch(ctx, to, recallRequest(r))
	if err != nil {
		return nil, err
	}
	return readRecallResponse(resp, r.Partition, to.Name), nil
}

func (p *Peers) fetch(ctx context.Context, to metadata.Member, req *kmsg.FetchRequest) (*kmsg.FetchResponse, error) {
	p.mu.Lock()
	remote := p.remote(to)
	p.mu.Unlock()
	if remote == nil {
		return nil, unreachable(to, errStopped)
	}
	answer, err := remote.polls.fetch(ctx, req)
	if err != nil {
		return nil, unreachable(to, err)
	}
	return answer, nil
}

func (p *polls) fetch(ctx context.Context, req *kmsg.FetchRequest) (*kmsg.FetchResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(p.remote.ctx, cancel)
	defer stop()
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	conn, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	wait := time.Duration(req.MaxWaitMillis) * time.Millisecond
	limited, cancelLimited := context.WithTimeoutCause(ctx, wait+patience(int(req.MaxBytes)+metadata.BatchBytesMax), kafka.ErrTimeout)
	defer cancelLimited()
	resp, err := conn.Do(limited, req)
	if err != nil {
		conn.Close()
		<-conn.Done()
		if ctx.Err() == nil {
			err = p.lost(limited, err)
		}
		return nil, err
	}
	p.release(conn)
	answer, ok := resp.(*kmsg.FetchResponse)
	if !ok || answer.ErrorCode != 0 {
		return nil, fmt.Errorf("%w: answer to Fetch of type %T", kafka.ErrProtocol, resp)
	}
	return answer, nil
}

func (p *polls) lost(limited context.Context, err error) error {
	if limited.Err() != nil {
		return context.Cause(limited)
	}
	p.remote.log.Warn("connection to gateway is lost", "error", err)
	p.remote.broken(err)
	return err
}

// connect returns a connection that nobody uses, or dials.
func (p *polls) connect(ctx context.Context) (*kafka.Conn, error) {
	for {
		conn := p.pop()
		switch {
		case conn == nil:
			return p.remote.dial(ctx, FetchWaitMax+patience(FetchBytesMax+metadata.BatchBytesMax))
		case conn.Err() == nil:
			return conn, nil
		}
	}
}

func (p *polls) pop() *kafka.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	conn := p.idle[n-1]
	p.idle = p.idle[:n-1]
	return conn
}

// release leaves conn to the next Fetch.
func (p *polls) release(conn *kafka.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		conn.Close()
		return
	}
	p.idle = append(p.idle, conn)
}

func (p *polls) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, conn := range idle {
		conn.Close()
		<-conn.Done()
	}
}
