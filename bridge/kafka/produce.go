package kafka

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// acksAll: a broker answers when all in-sync replicas have the records.
const acksAll = -1

// Batch is one finished record batch on its way to a partition.
type Batch struct {
	Topic     string
	Partition int32
	Bytes     []byte
}

// Produced is what became of one batch.
type Produced struct {
	BaseOffset int64 // of its first record upstream; -1: not told
	Err        error // nil: it is in the log
}

// Produce sends batches in one request, at most one for each partition, and
// returns when they are written: Bytes may be reused then. done is called as
// Start says, with one result for each batch in their order, or with an error
// that is true of all: then nobody knows which of them arrived. txn is the
// transactional id that all of them were made under, nil: none. The answer may
// take extra beyond the request timeout: for what is large on a slow link.
func (c *Conn) Produce(txn *string, batches []Batch, extra time.Duration, done func([]Produced, error)) error {
	req := kmsg.NewPtrProduceRequest()
	req.TransactionID = txn
	req.Acks = acksAll
	req.TimeoutMillis = int32(c.timeout.Milliseconds())
	places := make([]place, len(batches))
	for i, b := range batches {
		places[i] = place{b.Topic, b.Partition}
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = b.Partition, b.Bytes
		t := topicOf(req, b.Topic)
		t.Partitions = append(t.Partitions, p)
	}
	return c.start(req, extra, func(resp kmsg.Response, err error) {
		if err != nil {
			done(nil, err)
			return
		}
		done(c.readProduced(resp.(*kmsg.ProduceResponse), places), nil)
	})
}

type place struct {
	topic     string
	partition int32
}

// topicOf returns the topic's part of the request. Requests carry few topics.
func topicOf(req *kmsg.ProduceRequest, name string) *kmsg.ProduceRequestTopic {
	for i := range req.Topics {
		if req.Topics[i].Topic == name {
			return &req.Topics[i]
		}
	}
	t := kmsg.NewProduceRequestTopic()
	t.Topic = name
	req.Topics = append(req.Topics, t)
	return &req.Topics[len(req.Topics)-1]
}

func (c *Conn) readProduced(resp *kmsg.ProduceResponse, places []place) []Produced {
	answers := make(map[place]*kmsg.ProduceResponseTopicPartition, len(places))
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			answers[place{t.Topic, t.Partitions[j].Partition}] = &t.Partitions[j]
		}
	}
	results := make([]Produced, len(places))
	for i, at := range places {
		a, ok := answers[at]
		switch {
		case !ok:
			results[i] = Produced{BaseOffset: -1, Err: missing("Produce", at.topic, at.partition)}
		case a.ErrorCode != 0:
			results[i] = Produced{BaseOffset: -1, Err: c.produceError(a, at)}
		default:
			results[i] = Produced{BaseOffset: a.BaseOffset}
		}
	}
	return results
}

// produceError keeps the broker's own words: they name the record and the rule.
func (c *Conn) produceError(a *kmsg.ProduceResponseTopicPartition, at place) error {
	err := fmt.Errorf("producing to %s/%d at broker %s: %w", at.topic, at.partition, c.name(), kerr.ErrorForCode(a.ErrorCode))
	if a.ErrorMessage != nil && *a.ErrorMessage != "" {
		err = fmt.Errorf("%w (%q)", err, *a.ErrorMessage)
	}
	return err
}
