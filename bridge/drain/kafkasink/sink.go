package kafkasink

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"cistern/bridge/drain"
	"cistern/bridge/kafka"
	"cistern/gossip/metadata"
)

// Limits of the sink.
const (
	// RequestBytesDefault bounds one produce request, unless a single batch
	// is larger.
	RequestBytesDefault = 1 << 20
	// RequestsInFlightMax is how many requests a broker may hold unanswered.
	// It needs no more than drain.InFlightMax: a request carries at most one
	// batch of each partition.
	RequestsInFlightMax = drain.InFlightMax
	// ProbeInterval is how long the uplink may be silent before it is asked
	// whether it is still there.
	ProbeInterval = 30 * time.Second
	// MetadataMaxAge is when topics and leaders are asked for again although
	// nothing went wrong.
	MetadataMaxAge = 5 * time.Minute
	// RefreshIntervalMin keeps failures of many partitions from becoming as
	// many metadata requests.
	RefreshIntervalMin = 20 * time.Millisecond
)

// Config says where to drain to.
type Config struct {
	Client kafka.Config
	Site   string
	Topic  string // template of the upstream topic, e.g. "{stream}" or "{site}.{stream}"; empty: "{stream}"

	// CreateTopics allows to create topics that are missing, with as many
	// partitions as Partitions says (nil or < 1: the cluster's default) and
	// Replicas copies (0: the cluster's default).
	CreateTopics bool
	Partitions   func(stream string) int32
	Replicas     int16

	Mode         Mode // what keeps records from arriving twice
	RequestBytes int  // 0: RequestBytesDefault

	Logger *slog.Logger     // nil: slog.Default
	Now    func() time.Time // nil: time.Now
}

// Sink is a Kafka cluster as a drain.Sink.
type Sink struct {
	cfg    Config
	client *kafka.Client
	link   link
	topics topics

	mu      sync.Mutex
	running context.Context // Run's, nil: not running
	group   sync.WaitGroup  // senders
	senders map[route]*dial
	windows map[route]*window // as many as brokers were ever used, at two flows each
}

// New returns a sink. Nothing is dialed before Run.
func New(cfg Config) (*Sink, error) {
	if cfg.Topic == "" {
		cfg.Topic = "{stream}"
	}
	if err := checkTemplate(cfg.Topic, cfg.Site); err != nil {
		return nil, err
	}
	if cfg.RequestBytes == 0 {
		cfg.RequestBytes = RequestBytesDefault
	}
	if cfg.Client.RequestTimeout == 0 {
		cfg.Client.RequestTimeout = kafka.RequestTimeoutDefault
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	client, err := kafka.New(cfg.Client)
	if err != nil {
		return nil, fmt.Errorf("uplink: %w", err)
	}
	s := &Sink{cfg: cfg, client: client, senders: map[route]*dial{}, windows: map[route]*window{}}
	s.link.Init(cfg.Now, cfg.Logger, drain.Uplink{Brokers: cfg.Client.Brokers})
	s.topics.init()
	return s, nil
}

// checkTemplate tries the template on the shortest stream name there is.
func checkTemplate(template, site string) error {
	if !strings.Contains(template, "{stream}") {
		return fmt.Errorf("uplink topic %q has no {stream}: all streams would share one topic", template)
	}
	topic := expand(template, site, "s")
	if err := metadata.ValidateStreamName(topic); err != nil {
		return fmt.Errorf("uplink topic %q becomes no valid topic name, e.g. %q: %w", template, topic, err)
	}
	return nil
}

func expand(template, site, stream string) string {
	return strings.NewReplacer("{site}", site, "{stream}", stream).Replace(template)
}

// Uplink tells the state of the way upstream.
func (s *Sink) Uplink() drain.Uplink { return s.link.Status() }

// Kick ends a back-off.
func (s *Sink) Kick() { s.link.Kick() }
