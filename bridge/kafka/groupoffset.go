package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// GroupOffset is what a consumer group says about one partition.
type GroupOffset struct {
	Group     string
	Node      int32 // the group's coordinator
	Topic     string
	Partition int32
	Offset    int64  // -1: none
	Note      string // the committer's own words, at most 4096 bytes on Kafka
}

// CommitInTxn makes an offset part of the transaction, which AddGroup was told
// of: it counts when the transaction is committed, and never otherwise.
func (c *Client) CommitInTxn(ctx context.Context, t Transactor, o GroupOffset) error {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = t.ID, t.Producer, t.Epoch, o.Group
	req.Generation = -1 // a group without members
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = o.Partition, o.Offset, -1, &o.Note
	rt := kmsg.NewTxnOffsetCommitRequestTopic()
	rt.Topic, rt.Partitions = o.Topic, append(rt.Partitions, p)
	req.Topics = append(req.Topics, rt)
	resp, err := ask[*kmsg.TxnOffsetCommitResponse](ctx, c, o.Node, req)
	if err != nil {
		return fmt.Errorf("offset of group %q: %w", o.Group, err)
	}
	for _, rt := range resp.Topics {
		for _, p := range rt.Partitions {
			if rt.Topic == o.Topic && p.Partition == o.Partition {
				return codeError(p.ErrorCode, "offset of group %q for %s/%d", o.Group, o.Topic, o.Partition)
			}
		}
	}
	return missing("TxnOffsetCommit", o.Topic, o.Partition)
}

// Committed returns what a group has committed for a partition, Offset -1 when
// that is nothing. While a transaction with an offset of the group is open it
// is kerr.UnstableOffsetCommit; a group that never was may be
// kerr.GroupIDNotFound.
func (c *Client) Committed(ctx context.Context, node int32, group, topic string, partition int32) (GroupOffset, error) {
	o := GroupOffset{Group: group, Node: node, Topic: topic, Partition: partition, Offset: -1}
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group, req.RequireStable = group, true
	t := kmsg.NewOffsetFetchRequestTopic()
	t.Topic, t.Partitions = topic, []int32{partition}
	req.Topics = append(req.Topics, t)
	resp, err := ask[*kmsg.OffsetFetchResponse](ctx, c, node, req)
	if err != nil {
		return o, fmt.Errorf("offset of group %q: %w", group, err)
	}
	if err := codeError(resp.ErrorCode, "offset of group %q", group); err != nil {
		return o, err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if t.Topic != topic || p.Partition != partition {
				continue
			}
			if o.Offset = max(-1, p.Offset); p.Metadata != nil {
				o.Note = *p.Metadata
			}
			return o, codeError(p.ErrorCode, "offset of group %q for %s/%d", group, topic, partition)
		}
	}
	return o, missing("OffsetFetch", topic, partition)
}
