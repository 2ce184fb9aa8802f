package kafkasink

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"

	"cistern/bridge/drain"
	"cistern/bridge/kafka"
)

// topics is which topics we care about, and what may be wrong with what we
// know of them.
type topics struct {
	mu     sync.Mutex
	wanted map[string]*topicState
}

type topicState struct {
	stale   bool // a leader was not where we thought
	config  *kafka.TopicConfig
	warned  bool
	created chan struct{} // token: one at a time tries to create it
}

func (t *topics) init() { t.wanted = map[string]*topicState{} }

func (t *topics) names() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(maps.Keys(t.wanted))
}

func (t *topics) want(name string) *topicState {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wanted[name] == nil {
		t.wanted[name] = &topicState{created: make(chan struct{}, 1)}
	}
	return t.wanted[name]
}

// distrust says that the leaders of a topic have to be asked for again.
func (t *topics) distrust(name string) {
	state := t.want(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	state.stale = true
}

// trusts reports whether what is known may be used, and assumes that it will
// be refreshed if not.
func (t *topics) trusts(state *topicState) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	trusted := !state.stale
	state.stale = false
	return trusted
}

// topic returns a topic of the cluster, asking anew if what is known is stale,
// and creating it if that is allowed.
func (s *Sink) topic(ctx context.Context, name, stream string) (*kafka.Cluster, kafka.Topic, error) {
	state := s.topics.want(name)
	cluster, err := s.link.Await(ctx)
	if err != nil {
		return nil, kafka.Topic{}, err
	}
	topic, known := cluster.Topics[name]
	if !known || topic.Err != nil || !s.topics.trusts(state) {
		if cluster, err = s.link.Refresh(ctx); err != nil {
			return nil, kafka.Topic{}, err
		}
		if topic, known = cluster.Topics[name]; !known {
			return nil, topic, fmt.Errorf("topic %q: not asked for yet", name)
		}
	}
	if errors.Is(topic.Err, kerr.UnknownTopicOrPartition) {
		return nil, topic, s.create(ctx, state, name, stream)
	}
	if topic.Err != nil {
		return nil, topic, classify(topic.Err)
	}
	if len(topic.Partitions) == 0 {
		return nil, topic, fmt.Errorf("topic %q has no partitions yet", name)
	}
	return cluster, topic, nil
}

// create creates a missing topic, if that is allowed. The error says what the
// partition waits for; after a success it tries again at once.
func (s *Sink) create(ctx context.Context, state *topicState, name, stream string) error {
	if !s.cfg.CreateTopics {
		return fmt.Errorf("topic %q does not exist upstream: create it there, or set create_topics", name)
	}
	select {
	case state.created <- struct{}{}:
		defer func() { <-state.created }()
	case <-ctx.Done():
		return ctx.Err()
	}
	partitions, replicas := int32(-1), int16(-1)
	if s.cfg.Partitions != nil {
		if n := s.cfg.Partitions(stream); n > 0 {
			partitions = n
		}
	}
	if s.cfg.Replicas > 0 {
		replicas = s.cfg.Replicas
	}
	err := s.client.CreateTopic(ctx, name, partitions, replicas)
	switch {
	case errors.Is(err, kerr.TopicAlreadyExists):
		return fmt.Errorf("topic %q was created just now", name)
	case err != nil:
		return classify(err)
	}
	s.cfg.Logger.Info("topic created upstream", "topic", name, "partitions", partitions)
	return fmt.Errorf("topic %q was created just now", name)
}

// configOf asks once for what the topic's configuration says about our records.
// It is a courtesy: without the right to know, nothing is known.
func (s *Sink) configOf(ctx context.Context, name string) kafka.TopicConfig {
	state := s.topics.want(name)
	s.topics.mu.Lock()
	known := state.config
	s.topics.mu.Unlock()
	if known != nil {
		return *known
	}
	config, err := s.client.TopicConfig(ctx, name)
	if err != nil && kafka.Code(err) == "" {
		return config // no answer: ask again next time
	}
	s.topics.mu.Lock()
	defer s.topics.mu.Unlock()
	state.config = &config
	return config
}

// classify gives errors of the cluster their verdict.
func classify(err error) error {
	ke, ok := errors.AsType[*kerr.Error](err)
	if !ok {
		if errors.Is(err, kafka.ErrAuth) || errors.Is(err, kafka.ErrTooOld) {
			return &drain.Error{Verdict: drain.Denied, Err: err}
		}
		return err
	}
	if verdict, ok := verdicts[ke.Code]; ok {
		return &drain.Error{Verdict: verdict, Reason: ke.Message, Err: err}
	}
	return &drain.Error{Verdict: drain.Retry, Reason: ke.Message, Err: err}
}

// verdicts are the codes that mean more than "later".
var verdicts = map[int16]drain.Verdict{
	kerr.OutOfOrderSequenceNumber.Code: drain.Misplaced,
	kerr.InvalidProducerEpoch.Code:     drain.Misplaced,
	kerr.ProducerFenced.Code:           drain.Misplaced,

	kerr.UnknownProducerID.Code:        drain.Forgotten,
	kerr.InvalidProducerIDMapping.Code: drain.Forgotten,

	kerr.MessageTooLarge.Code:    drain.Refused,
	kerr.RecordListTooLarge.Code: drain.Refused,
	kerr.InvalidTimestamp.Code:   drain.Refused,
	kerr.InvalidRecord.Code:      drain.Refused,

	kerr.CorruptMessage.Code: drain.Corrupt,

	kerr.TopicAuthorizationFailed.Code:    drain.Denied,
	kerr.ClusterAuthorizationFailed.Code:  drain.Denied,
	kerr.InvalidTopicException.Code:       drain.Denied,
	kerr.InvalidReplicationFactor.Code:    drain.Denied,
	kerr.InvalidPartitions.Code:           drain.Denied,
	kerr.PolicyViolation.Code:             drain.Denied,
	kerr.UnsupportedCompressionType.Code:  drain.Denied,
	kerr.UnsupportedForMessageFormat.Code: drain.Denied,
	kerr.UnsupportedVersion.Code:          drain.Denied,
	kerr.InvalidRequiredAcks.Code:         drain.Denied,
	kerr.InvalidRequest.Code:              drain.Denied,

	kerr.TransactionalIDAuthorizationFailed.Code: drain.Denied,
	kerr.GroupAuthorizationFailed.Code:           drain.Denied,
	kerr.InvalidTransactionTimeout.Code:          drain.Denied,
}
