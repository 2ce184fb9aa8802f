package peer

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"cistern/gossip/metadata"
	"cistern/gossip/port"
	"cistern/gossip/sitekey"
	"cistern/segstore/replica"
)

var quiet = slog.New(slog.DiscardHandler)

// service is a gateway's replica.Service as a test wants it.
type service struct {
	produce func([]*replica.Append)
	fetch   func(context.Context, *replica.FetchRequest) *replica.FetchAnswer
	recall  func(*replica.RecallRequest) *replica.RecallAnswer
}

func (s *service) Produce(batches []*replica.Append) { s.produce(batches) }
func (s *service) Fetch(ctx context.Context, r *replica.FetchRequest) *replica.FetchAnswer {
	return s.fetch(ctx, r)
}

func (s *service) Recall(r *replica.RecallRequest) *replica.RecallAnswer { return s.recall(r) }

// confirm answers every batch at once, with the number that is in it.
func confirm(batches []*replica.Append) {
	for _, a := range batches {
		finish(a, int64(number(a)), nil)
	}
}

func number(a *replica.Append) int {
	n := 0
	fmt.Sscan(string(a.Batch), &n)
	return n
}

// background runs f until the test ends, or stop is called.
func background(t testing.TB, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("it ended with: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// secure returns the site ports of two gateways, the second of which serves s.
func secure(t testing.TB, s replica.Service) (near *port.Port, far metadata.Member) {
	key, err := sitekey.Generate()
	if err != nil {
		t.Fatal(err)
	}
	listen := func(name string) *port.Port {
		p, err := port.Listen("127.0.0.1:0", key, name)
		if err != nil {
			t.Fatal(err)
		}
		p.Logger = quiet
		return p
	}
	near, other := listen("near"), listen("far")
	ln := other.Listener(Protocol)
	background(t, near.Run)
	background(t, other.Run)
	background(t, func(ctx context.Context) error { return (&Server{Service: s, Logger: quiet}).Serve(ctx, ln) })
	return near, metadata.Member{ID: 2, Name: "far", Address: other.Addr().String(), Incarnation: 5}
}

// plain serves s over TCP without TLS.
func plain(t testing.TB, s *Server, id metadata.NodeID) (to metadata.Member, stop func()) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Logger = quiet
	stop = background(t, func(ctx context.Context) error { return s.Serve(ctx, ln) })
	return metadata.Member{ID: id, Name: fmt.Sprintf("gateway-%d", id), Address: ln.Addr().String(), Incarnation: 1}, stop
}

func dialPlain(ctx context.Context, addr, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}

// started returns running Peers; cfg may leave out everything.
func started(t testing.TB, cfg Config) *Peers {
	if cfg.Dial == nil {
		cfg.Dial = dialPlain
	}
	cfg.Name, cfg.Logger = "near", quiet
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	background(t, p.Run)
	return p
}

// told collects what becomes of batches.
type told struct {
	t    testing.TB
	mu   sync.Mutex
	seen map[*replica.Append]int
	all  chan *replica.Append
}

func newTold(t testing.TB) *told {
	return &told{t: t, seen: map[*replica.Append]int{}, all: make(chan *replica.Append, 100_000)}
}

// batch makes one that counts its answers.
func (o *told) batch(stream string, partition int32, acks metadata.Acks, n int) *replica.Append {
	return &replica.Append{
		Partition: metadata.PartitionID{Stream: stream, Partition: partition},
		Batch:     fmt.Appendf(nil, "%d ", n),
		Acks:      acks,
		Done: func(a *replica.Append) {
			o.mu.Lock()
			defer o.mu.Unlock()
			if o.seen[a]++; o.seen[a] > 1 {
				o.t.Errorf("batch %s of %v was answered %d times", a.Batch, a.Partition, o.seen[a])
			}
			o.all <- a
		},
	}
}

// next waits for n answers.
func (o *told) next(n int) []*replica.Append {
	o.t.Helper()
	var got []*replica.Append
	limit := time.After(30 * time.Second)
	for range n {
		select {
		case a := <-o.all:
			got = append(got, a)
		case <-limit:
			o.t.Fatalf("%d of %d batches were answered", len(got), n)
		}
	}
	return got
}
