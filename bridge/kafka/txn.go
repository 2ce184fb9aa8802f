package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kinds of coordinators; values of the protocol.
const (
	GroupCoordinator int8 = 0 // keeps a consumer group's offsets
	TxnCoordinator   int8 = 1 // keeps a transactional id's state
)

// Transactor is a producer that works in transactions: what InitTransactions
// returns. The broker admits the one of the highest epoch only.
type Transactor struct {
	ID       string // the transactional id
	Producer int64
	Epoch    int16
	Node     int32 // its coordinator
}

// Coordinator asks any broker which one coordinates key: a consumer group or a
// transactional id. It may have moved by the time it is asked something.
func (c *Client) Coordinator(ctx context.Context, kind int8, key string) (node int32, err error) {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorType, req.CoordinatorKey = kind, key
	resp, err := askAny[*kmsg.FindCoordinatorResponse](ctx, c, req)
	if err != nil {
		return 0, fmt.Errorf("coordinator of %q: %w", key, err)
	}
	return resp.NodeID, codeError(resp.ErrorCode, "coordinator of %q", key)
}

// InitTransactions takes over a transactional id: whoever had it before is
// fenced, and his open transaction is aborted. A transaction that stays open
// for longer than timeout is aborted by the broker.
func (c *Client) InitTransactions(ctx context.Context, node int32, id string, timeout time.Duration) (Transactor, error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = &id, int32(timeout.Milliseconds())
	req.ProducerID, req.ProducerEpoch = -1, -1
	resp, err := ask[*kmsg.InitProducerIDResponse](ctx, c, node, req)
	if err != nil {
		return Transactor{}, fmt.Errorf("taking transactional id %q: %w", id, err)
	}
	if err := codeError(resp.ErrorCode, "taking transactional id %q", id); err != nil {
		return Transactor{}, err
	}
	if resp.ProducerID < 0 || resp.ProducerEpoch < 0 {
		return Transactor{}, fmt.Errorf("%w: transactional id %q has producer id %d, epoch %d", ErrProtocol, id, resp.ProducerID, resp.ProducerEpoch)
	}
	return Transactor{ID: id, Producer: resp.ProducerID, Epoch: resp.ProducerEpoch, Node: node}, nil
}

// AddPartition makes a partition part of the transaction, beginning one if none
// is open. kerr.ConcurrentTransactions: the last one is not finished yet.
func (c *Client) AddPartition(ctx context.Context, t Transactor, topic string, partition int32) error {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = t.ID, t.Producer, t.Epoch
	rt := kmsg.NewAddPartitionsToTxnRequestTopic()
	rt.Topic, rt.Partitions = topic, []int32{partition}
	req.Topics = append(req.Topics, rt)
	resp, err := ask[*kmsg.AddPartitionsToTxnResponse](ctx, c, t.Node, req)
	if err != nil {
		return fmt.Errorf("adding %s/%d to a transaction: %w", topic, partition, err)
	}
	for _, rt := range resp.Topics {
		for _, p := range rt.Partitions {
			if rt.Topic == topic && p.Partition == partition {
				return codeError(p.ErrorCode, "adding %s/%d to a transaction", topic, partition)
			}
		}
	}
	return missing("AddPartitionsToTxn", topic, partition)
}

// AddGroup makes a consumer group's offsets part of the transaction.
func (c *Client) AddGroup(ctx context.Context, t Transactor, group string) error {
	req := kmsg.NewPtrAddOffsetsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = t.ID, t.Producer, t.Epoch, group
	resp, err := ask[*kmsg.AddOffsetsToTxnResponse](ctx, c, t.Node, req)
	if err != nil {
		return fmt.Errorf("adding the offsets of group %q to a transaction: %w", group, err)
	}
	return codeError(resp.ErrorCode, "adding the offsets of group %q to a transaction", group)
}

// EndTxn commits or aborts the transaction. Without an answer nobody knows
// which became of it: InitTransactions and then Committed tell.
func (c *Client) EndTxn(ctx context.Context, t Transactor, commit bool) error {
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = t.ID, t.Producer, t.Epoch, commit
	resp, err := ask[*kmsg.EndTxnResponse](ctx, c, t.Node, req)
	if err != nil {
		return fmt.Errorf("ending a transaction of %q: %w", t.ID, err)
	}
	return codeError(resp.ErrorCode, "ending a transaction of %q", t.ID)
}
