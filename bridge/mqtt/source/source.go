package source

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/ingest"
)

// Appender takes records; ingest.Accumulator is one. Append copies r, blocks
// only for back pressure, and returns an error when the record is not taken.
// After nil, c.Complete(seq, ...) follows exactly once.
type Appender interface {
	Append(ctx context.Context, p metadata.PartitionID, r *batch.Record, c ingest.Completion, seq uint64) error
}

// Router makes a record of a message: it fills rec and says where it belongs.
// rec may keep payload, and memory of the Router's own: it is used up before the
// next call, and one source calls from one goroutine at a time. An error means
// that the message can't become a record, now or later.
type Router interface {
	Map(topic string, payload []byte, qos byte, retain, dup bool, rec *batch.Record) (metadata.PartitionID, error)
}

// Source reads one external broker. Make it with New and start it with Run.
type Source struct {
	config   Config
	endpoint endpoint
	router   Router
	appender Appender
	log      *slog.Logger
	timing   timing
	dialNet  func(ctx context.Context, network, address string) (net.Conn, error)
	state    state

	known    bool     // the broker has had a session of ours; by Run's goroutine only
	rejected logLimit // by the goroutines of one connection; see there
}

// timing holds what a test wants shorter.
type timing struct {
	connect     time.Duration // from dialling to CONNACK
	subscribe   time.Duration // from SUBSCRIBE to SUBACK
	resubscribe time.Duration // between attempts at refused filters
	stall       time.Duration // longest wait of the handler for a slot
	drain       time.Duration // longest wait of a clean stop for commits under way
	disconnect  time.Duration // longest wait for the broker's answer to DISCONNECT
	retryMin    time.Duration // between attempts at a refused append
	retryMax    time.Duration
	backoffMin  time.Duration // between connections
	backoffMax  time.Duration
	healthy     time.Duration // a connection that lasted this long resets the back-off
}

var defaultTiming = timing{
	connect:     15 * time.Second,
	subscribe:   10 * time.Second,
	resubscribe: time.Minute,
	stall:       10 * time.Second,
	drain:       time.Second,
	disconnect:  time.Second,
	retryMin:    50 * time.Millisecond,
	retryMax:    2 * time.Second,
	backoffMin:  500 * time.Millisecond,
	backoffMax:  time.Minute,
	healthy:     time.Minute,
}

// New returns a source that is not running. It reads the files that config
// names once, so that a mistake shows at the start.
func New(config Config, router Router, appender Appender, log *slog.Logger) (*Source, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config = config.withDefaults()
	e, err := config.endpoint()
	if err != nil {
		return nil, err
	}
	if _, err := config.tlsConfig(e); err != nil {
		return nil, err
	}
	if _, err := config.password(); err != nil {
		return nil, err
	}
	s := &Source{
		config: config, endpoint: e, router: router, appender: appender,
		log:     log.With("source", config.URL),
		timing:  defaultTiming,
		dialNet: new(net.Dialer).DialContext,
	}
	s.state.fixed = Status{URL: config.URL, ClientID: config.ClientID, Window: config.Window}
	return s, nil
}

// Run reads the broker until ctx ends, and returns nil then, after all its
// goroutines have. What was not committed is not acknowledged. A broker that
// is away, refuses or misbehaves is no error of Run: Status tells, and Run
// tries again.
func (s *Source) Run(ctx context.Context) error {
	pause := backoff{min: s.timing.backoffMin, max: s.timing.backoffMax}
	for {
		began := time.Now()
		err := s.connect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) >= s.timing.healthy {
			pause.reset()
		}
		wait := pause.next()
		s.state.setError(err)
		s.log.Warn("external broker lost, will try again", "error", err, "in", wait.Round(time.Millisecond))
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// connect serves one connection from dialling to its last goroutine.
func (s *Source) connect(ctx context.Context) error {
	defer s.state.disconnected()
	c := newConnection(ctx, s)
	if err := c.run(ctx); err != nil {
		return fmt.Errorf("mqtt source %s: %w", s.config.URL, err)
	}
	return nil
}

// sleep waits for d and reports whether ctx still lasts.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
