package natssink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"cistern/bridge/drain"
	"cistern/bridge/nats"
)

// Limits of the sink.
const (
	// SubjectDefault is the subject of each partition.
	SubjectDefault = "cistern.{site}.{stream}.{partition}"
	// GroupRecordsMax and GroupBytesMax bound an atomic batch. 1000 is the
	// server's own limit.
	GroupRecordsMax = 1000
	GroupBytesMax   = 1 << 20
	// WindowBatches is how many stored batches a partition may have here: the
	// smaller they are, the more of them fill a group.
	WindowBatches = 64
	// DecodedBytesMax is what a batch may become when it is decompressed.
	DecodedBytesMax = 16 << 20
	// AnswerTimeout is how long an answer may take before the connection is
	// given up.
	AnswerTimeout = 30 * time.Second
	// ProbeInterval is how long the server may be silent before it is asked
	// whether it is still there.
	ProbeInterval = 30 * time.Second
	// FlowsMax is how many flows of a subject are carried forward; see chain.
	FlowsMax = 32
	// ScanMax is how many messages are looked at one by one when somebody else
	// publishes to our subject.
	ScanMax = 1000
)

// Config says where to drain to.
type Config struct {
	Client  nats.Config
	Site    string
	Stream  string // of JetStream
	Subject string // template; empty: SubjectDefault

	Logger *slog.Logger     // nil: slog.Default
	Now    func() time.Time // nil: time.Now
}

// Sink is a JetStream stream as a drain.Sink.
type Sink struct {
	cfg    Config
	link   drain.Link[*way]
	timing timing
	group  sync.WaitGroup // publishing goroutines
	single bool           // never use atomic batches: for tests
}

// timing holds what a test wants shorter.
type timing struct{ answer, probe, backoffMin, backoffMax time.Duration }

// New returns a sink. Nothing is dialed before Run.
func New(cfg Config) (*Sink, error) {
	if cfg.Subject == "" {
		cfg.Subject = SubjectDefault
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("uplink: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Sink{cfg: cfg, timing: timing{AnswerTimeout, ProbeInterval, drain.BackoffMin, drain.BackoffMax}}
	s.link.Init(cfg.Now, cfg.Logger, drain.Uplink{Brokers: cfg.Client.URLs})
	return s, nil
}

func (c *Config) check() error {
	if err := c.Client.Validate(); err != nil {
		return err
	}
	if c.Stream == "" || strings.ContainsAny(c.Stream, " .*>/\\\t\r\n") {
		return fmt.Errorf("%q can't be the name of a JetStream stream", c.Stream)
	}
	for _, part := range []string{"{stream}", "{partition}"} {
		if !strings.Contains(c.Subject, part) {
			return fmt.Errorf("subject %q has no %s: partitions would share one subject", c.Subject, part)
		}
	}
	subject := expand(c.Subject, c.Site, "s", 0)
	if !validSubject(subject) {
		return fmt.Errorf("subject %q becomes no valid subject, e.g. %q", c.Subject, subject)
	}
	if strings.HasPrefix(subject, "$") || strings.HasPrefix(subject, "_INBOX") {
		return errors.New("a subject that begins with $ or _INBOX is the server's own")
	}
	return nil
}

// validSubject reports whether s can be published to.
func validSubject(s string) bool {
	for _, token := range strings.Split(s, ".") {
		if token == "" || strings.ContainsAny(token, " *>\t\r\n\x00") {
			return false
		}
	}
	return true
}

// expand fills the template in. Names become one token each, so that subjects of
// different partitions are different: a dot in a name is written %2E.
func expand(template, site, stream string, partition int32) string {
	token := func(s string) string { return strings.ReplaceAll(s, ".", "%2E") }
	return strings.NewReplacer("{site}", token(site), "{stream}", token(stream), "{partition}", fmt.Sprint(partition)).Replace(template)
}

// Uplink tells the state of the way upstream.
func (s *Sink) Uplink() drain.Uplink { return s.link.Status() }

// Kick ends a back-off.
func (s *Sink) Kick() { s.link.Kick() }

// Run keeps the uplink alive until ctx ends.
func (s *Sink) Run(ctx context.Context) error {
	backoff := drain.Backoff{Min: s.timing.backoffMin, Max: s.timing.backoffMax}
	s.link.Become(drain.UplinkConnecting, nil)
	for ctx.Err() == nil {
		conn, err := nats.Connect(ctx, s.cfg.Client)
		if err == nil {
			err = s.serve(ctx, conn, &backoff)
			conn.Close()
			<-conn.Done()
		}
		if ctx.Err() == nil {
			s.link.Become(drain.UplinkDown, err)
			s.rest(ctx, backoff.Next())
		}
	}
	s.group.Wait()
	s.link.Become(drain.UplinkOff, nil)
	return nil
}

// rest waits for a back-off to end, or for a Kick.
func (s *Sink) rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-s.link.Wake():
	case <-timer.C:
	}
}

// serve asks for the stream at the start, on request and after silence. It
// returns when the connection has ended or a question is not answered.
func (s *Sink) serve(ctx context.Context, conn *nats.Conn, backoff *drain.Backoff) error {
	w := &way{sink: s, conn: conn, chains: map[string]*chain{}}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-conn.Done():
			return conn.Err()
		case <-s.link.Wake():
		case <-timer.C:
			if silent := s.cfg.Now().Sub(s.link.Status().LastAnswer); w.known() && silent < s.timing.probe {
				timer.Reset(s.timing.probe - silent)
				continue
			}
		}
		if err := w.ask(ctx); err != nil {
			return err
		}
		backoff.Reset()
		w.learned()
		timer.Reset(s.timing.probe)
	}
}
