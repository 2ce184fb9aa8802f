package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// InitProducerID gets a new producer id, without a transactional id.
func (c *Client) InitProducerID(ctx context.Context) (id int64, epoch int16, err error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.ProducerID, req.ProducerEpoch = -1, -1
	resp, err := askAny[*kmsg.InitProducerIDResponse](ctx, c, req)
	if err != nil {
		return 0, 0, fmt.Errorf("asking for a producer id: %w", err)
	}
	if err := codeError(resp.ErrorCode, "asking for a producer id"); err != nil {
		return 0, 0, err
	}
	if resp.ProducerID < 0 || resp.ProducerEpoch < 0 {
		return 0, 0, fmt.Errorf("%w: producer id %d, epoch %d", ErrProtocol, resp.ProducerID, resp.ProducerEpoch)
	}
	return resp.ProducerID, resp.ProducerEpoch, nil
}

// ProducerState is what a partition's leader remembers of a producer.
type ProducerState struct {
	ID           int64
	Epoch        int32
	LastSequence int32 // of its last record; -1: none
}

// Producers asks a partition's leader which producers it remembers. Kafka and
// Redpanda list every one that has not expired. It needs READ on the topic.
func (c *Client) Producers(ctx context.Context, leader int32, topic string, partition int32) ([]ProducerState, error) {
	req := kmsg.NewPtrDescribeProducersRequest()
	t := kmsg.NewDescribeProducersRequestTopic()
	t.Topic, t.Partitions = topic, []int32{partition}
	req.Topics = append(req.Topics, t)
	resp, err := ask[*kmsg.DescribeProducersResponse](ctx, c, leader, req)
	if err != nil {
		return nil, fmt.Errorf("producers of %s/%d: %w", topic, partition, err)
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if t.Topic != topic || p.Partition != partition {
				continue
			}
			if err := codeError(p.ErrorCode, "producers of %s/%d", topic, partition); err != nil {
				return nil, err
			}
			return readProducers(p.ActiveProducers), nil
		}
	}
	return nil, missing("DescribeProducers", topic, partition)
}

func readProducers(active []kmsg.DescribeProducersResponseTopicPartitionActiveProducer) []ProducerState {
	states := make([]ProducerState, 0, len(active))
	for _, a := range active {
		states = append(states, ProducerState{ID: a.ProducerID, Epoch: a.ProducerEpoch, LastSequence: a.LastSequence})
	}
	return states
}

// missing is the error for an answer that leaves out what was asked.
func missing(request, topic string, partition int32) error {
	return fmt.Errorf("%w: the answer to %s does not mention %s/%d", ErrProtocol, request, topic, partition)
}
