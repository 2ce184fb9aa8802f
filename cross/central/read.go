package central

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Record is one record as it lies in the central cluster.
type Record struct {
	Topic     string // the Kafka topic, which is a stream of the gateway
	Partition int32
	Offset    int64
	Key       string // the MQTT topic
	Value     []byte
}

// Reader reads a stand-in straight from its own listener: whatever address the
// metadata points to, it dials the one it was given, so a cut uplink does not
// cut the reader.
type Reader struct{ address string }

// NewReader reads the stand-in that listens on address.
func NewReader(address string) *Reader { return &Reader{address} }

// Count returns how many records lie in topic; a topic that was never written
// to has none.
func (r *Reader) Count(ctx context.Context, topic string) (int64, error) {
	client, err := r.client()
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ends, err := endOffsets(ctx, client, topic)
	var n int64
	for _, end := range ends {
		n += end
	}
	return n, err
}

// Each calls visit with every record that lies in topic now, in offset order
// within each partition, and returns when it has seen them all.
func (r *Reader) Each(ctx context.Context, topic string, visit func(Record)) error {
	client, err := r.client()
	if err != nil {
		return err
	}
	defer client.Close()
	ends, err := endOffsets(ctx, client, topic)
	if err != nil {
		return err
	}

	from := make(map[int32]kgo.Offset)
	for partition, end := range ends {
		if end > 0 {
			from[partition] = kgo.NewOffset().At(0)
		}
	}
	if len(from) == 0 {
		return nil
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})
	for len(from) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("central: reading %s: %w", topic, err)
		}
		fetches.EachRecord(func(k *kgo.Record) {
			end := ends[k.Partition]
			if k.Offset < end {
				visit(Record{k.Topic, k.Partition, k.Offset, string(k.Key), k.Value})
			}
			if k.Offset >= end-1 {
				delete(from, k.Partition)
			}
		})
	}
	return nil
}

func (r *Reader) client() (*kgo.Client, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(r.address),
		kgo.FetchMaxBytes(16<<20),
		kgo.Dialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, r.address)
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("central: %w", err)
	}
	return client, nil
}

// endOffsets returns the end of each partition of topic.
func endOffsets(ctx context.Context, client *kgo.Client, topic string) (map[int32]int64, error) {
	listed, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("central: end offsets of %s: %w", topic, err)
	}
	ends := make(map[int32]int64)
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	return ends, nil
}
