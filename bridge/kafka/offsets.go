package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Where an offset is asked for; values of the protocol.
const (
	Latest   int64 = -1 // the end: the high watermark
	Earliest int64 = -2 // the log start offset
)

// Offset asks a partition's leader for an offset: Latest or Earliest.
func (c *Client) Offset(ctx context.Context, leader int32, topic string, partition int32, which int64) (int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp = partition, which
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := ask[*kmsg.ListOffsetsResponse](ctx, c, leader, req)
	if err != nil {
		return 0, fmt.Errorf("offsets of %s/%d: %w", topic, partition, err)
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if t.Topic != topic || p.Partition != partition {
				continue
			}
			if err := codeError(p.ErrorCode, "offsets of %s/%d", topic, partition); err != nil {
				return 0, err
			}
			if p.Offset < 0 {
				return 0, fmt.Errorf("%w: offset %d of %s/%d", ErrProtocol, p.Offset, topic, partition)
			}
			return p.Offset, nil
		}
	}
	return 0, missing("ListOffsets", topic, partition)
}

// Fetched is a piece of a partition's log.
type Fetched struct {
	Batches       []byte // whole batches and perhaps the start of another
	HighWatermark int64
	LogStart      int64
}

// Fetch reads committed batches from offset on without waiting for more.
// bytesMax is exceeded only by a first batch that alone is larger.
func (c *Client) Fetch(ctx context.Context, leader int32, topic string, partition int32, offset int64, bytesMax int32) (Fetched, error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 0, 0, min(bytesMax, FetchBytesMax)
	req.SessionEpoch = -1 // one question, no fetch session
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, req.MaxBytes
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := ask[*kmsg.FetchResponse](ctx, c, leader, req)
	if err != nil {
		return Fetched{}, fmt.Errorf("fetching %s/%d from offset %d: %w", topic, partition, offset, err)
	}
	if err := codeError(resp.ErrorCode, "fetching %s/%d", topic, partition); err != nil {
		return Fetched{}, err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if t.Topic != topic || p.Partition != partition {
				continue
			}
			if err := codeError(p.ErrorCode, "fetching %s/%d from offset %d", topic, partition, offset); err != nil {
				return Fetched{}, err
			}
			return Fetched{Batches: p.RecordBatches, HighWatermark: p.HighWatermark, LogStart: p.LogStartOffset}, nil
		}
	}
	return Fetched{}, missing("Fetch", topic, partition)
}
