package kafka

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"
)

// TestTransactions: an offset counts when its transaction is committed, and a
// transactional id belongs to whoever took it last.
func TestTransactions(t *testing.T) {
	for name, opts := range map[string][]kfake.Opt{"2.8": {kfake.MaxVersions(kversion.V2_8_0())}, "latest": nil} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			c, _ := newClient(t, append(opts, kfake.NumBrokers(3), kfake.SeedTopics(1, "topic"))...)
			if _, err := c.Metadata(ctx, "topic"); err != nil {
				t.Fatal(err)
			}
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			const id, group = "id/1", "group/1"
			node, err := c.Coordinator(ctx, TxnCoordinator, id)
			must(err)
			keeper, err := c.Coordinator(ctx, GroupCoordinator, group)
			must(err)
			committed := func() GroupOffset {
				t.Helper()
				o, err := c.Committed(ctx, keeper, group, "topic", 0)
				if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
					t.Fatal(err)
				}
				return o
			}
			first, err := c.InitTransactions(ctx, node, id, time.Minute)
			must(err)
			if o := committed(); o.Offset != -1 {
				t.Errorf("before anything %+v is committed", o)
			}
			transact := func(by Transactor, offset int64, commit bool) {
				t.Helper()
				must(c.AddPartition(ctx, by, "topic", 0))
				must(c.AddGroup(ctx, by, group))
				must(c.CommitInTxn(ctx, by, GroupOffset{Group: group, Node: keeper, Topic: "topic", Offset: offset, Note: "a note"}))
				if o, err := c.Committed(ctx, keeper, group, "topic", 0); !errors.Is(err, kerr.UnstableOffsetCommit) && o.Offset >= 0 {
					t.Errorf("in the midst of a transaction: %v", err)
				}
				must(c.EndTxn(ctx, by, commit))
			}
			transact(first, 70, true)
			transact(first, 90, false)
			if o := committed(); o.Offset != 70 || o.Note != "a note" {
				t.Errorf("%+v is committed, want 70", o)
			}
			must(c.AddPartition(ctx, first, "topic", 0))
			second, err := c.InitTransactions(ctx, node, id, time.Minute)
			must(err)
			for what, err := range map[string]error{
				"AddPartition": c.AddPartition(ctx, first, "topic", 0),
				"AddGroup":     c.AddGroup(ctx, first, group),
				"CommitInTxn":  c.CommitInTxn(ctx, first, GroupOffset{Group: group, Node: keeper, Topic: "topic", Offset: 99}),
				"EndTxn":       c.EndTxn(ctx, first, true),
			} {
				if !errors.Is(err, kerr.ProducerFenced) && !errors.Is(err, kerr.InvalidProducerEpoch) {
					t.Errorf("%s by the one before: %v", what, err)
				}
			}
			transact(second, 80, true)
			if o := committed(); o.Offset != 80 {
				t.Errorf("%+v is committed, want 80", o)
			}
			if _, err := c.InitTransactions(ctx, node, id, 24*time.Hour); !errors.Is(err, kerr.InvalidTransactionTimeout) {
				t.Errorf("a timeout that no broker allows: %v", err)
			}
		})
	}
}
