package kafkasink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cistern/bridge/drain"
	"cistern/bridge/kafka"
)

// Limits of waiting for a coordinator that is busy with what was before.
const (
	txnPatience = 10 * time.Second
	txnPauseMin = 20 * time.Millisecond
	txnPauseMax = 500 * time.Millisecond
)

// epochsBackMax bounds how many owners without a single commit may stand between
// the last commit and us.
const epochsBackMax = 100

// txnPrefix begins the names of our transactional ids and groups.
const txnPrefix = "cistern/"

// home is where a partition's transactions and its position live upstream.
type home struct {
	txn      kafka.Transactor
	position kafka.GroupOffset
}

// txnName is the transactional id of an incarnation. Each has its own, so that what
// was committed by one is never taken for another's, and a flow that goes on as
// backfill keeps its name, which is what fences everybody else who works on it.
func (l place) txnName(c *drain.Cursor) string {
	return fmt.Sprintf("%s%s/%s/%d/%d", txnPrefix, l.s.cfg.Site, l.from.Stream, l.from.Partition, c.Producer)
}

// txnGroup is the group whose offset is the position that one owner of a
// transactional id has committed. Each owner has its own: Kafka's coordinator
// remembers an offset of an open transaction by group and producer id, not by
// epoch, and the late commit of a fenced owner, which it refuses, makes it forget
// the one that its successor has just committed (3.9.1; a zombie shows it).
func txnGroup(name string, epoch int16) string { return fmt.Sprintf("%s/%d", name, epoch) }

// txnNote goes with the committed position: who may believe it.
func txnNote(c *drain.Cursor) string { return fmt.Sprintf("cistern incarnation %d", c.Producer) }

// transact makes the cursor say where we are, as the only one who may work
// under its transactional id from now on.
func (l place) transact(ctx context.Context, c *drain.Cursor) (home, error) {
	if modeOf(c) == ModeTransaction && !sameTopic(c.Target, l.to) {
		if c.Target.Cluster == l.to.Cluster { // a topic made anew, by the same name: nobody must go on there
			if _, err := l.fence(ctx, c); err != nil {
				return home{}, err
			}
		}
		c.Producer = -1
	}
	if c.Producer < 0 {
		id, _, err := l.s.client.InitProducerID(ctx)
		if err != nil {
			return home{}, err
		}
		c.Incarnate(l.s.cfg.Now(), l.to, id, epochTransactions, 0)
		l.s.cfg.Logger.Info("new transactional id upstream", "target", l.to.String(), "cluster", l.to.Cluster,
			"id", l.txnName(c), "position", c.Position, "incarnation", c.Incarnation)
	}
	return l.takeOver(ctx, c)
}

// takeOver fences whoever worked under the cursor's transactional id, and then
// moves the cursor to what was committed under it. Offsets of a group that is
// silent for a week are forgotten, hence never backwards.
func (l place) takeOver(ctx context.Context, c *drain.Cursor) (h home, err error) {
	if h.txn, err = l.fence(ctx, c); err != nil {
		return h, err
	}
	name := l.txnName(c)
	for epoch, end := h.txn.Epoch, max(-1, h.txn.Epoch-epochsBackMax); epoch > end; epoch-- {
		at, err := l.committed(ctx, txnGroup(name, epoch))
		if err != nil {
			return h, err
		}
		if epoch == h.txn.Epoch {
			h.position = at // nobody has committed there: it is ours
			continue
		}
		if at.Offset >= 0 && at.Note == txnNote(c) {
			c.Position = max(c.Position, at.Offset)
			break // who came later began there
		}
	}
	h.position.Note = txnNote(c)
	return h, nil
}

// committed asks for a group's offset, -1 when there is none.
func (l place) committed(ctx context.Context, group string) (at kafka.GroupOffset, err error) {
	err = patiently(ctx, func() error {
		node, err := l.s.client.Coordinator(ctx, kafka.GroupCoordinator, group)
		if err != nil {
			return err
		}
		at, err = l.s.client.Committed(ctx, node, group, l.to.Topic, l.to.Partition)
		if errors.Is(err, kerr.GroupIDNotFound) {
			return nil // nothing was ever committed
		}
		return err
	})
	return at, err
}

// fence takes the cursor's transactional id over. An open transaction of its
// last owner is aborted, one that was about to be committed is.
func (l place) fence(ctx context.Context, c *drain.Cursor) (t kafka.Transactor, err error) {
	name := l.txnName(c)
	err = patiently(ctx, func() error {
		node, err := l.s.client.Coordinator(ctx, kafka.TxnCoordinator, name)
		if err == nil {
			t, err = l.s.client.InitTransactions(ctx, node, name, TxnTimeout)
		}
		return err
	})
	return t, err
}

// patiently repeats what failed only because a coordinator is busy, or has just
// moved, for a while.
func patiently(ctx context.Context, try func() error) error {
	end := time.Now().Add(txnPatience)
	for wait := txnPauseMin; ; wait = min(2*wait, txnPauseMax) {
		err := try()
		if err == nil || !busy(err) || time.Now().After(end) {
			return err
		}
		if pause(ctx, wait) != nil {
			return err
		}
	}
}

func busy(err error) bool {
	for _, e := range []*kerr.Error{kerr.ConcurrentTransactions, kerr.UnstableOffsetCommit, kerr.CoordinatorLoadInProgress,
		kerr.CoordinatorNotAvailable, kerr.NotCoordinator} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// classifyTxn is classify for transactions: whoever is fenced, or whose sequence
// does not fit, begins anew, and that settles everything.
func classifyTxn(err error) error {
	err = classify(advise(err, ModeTransaction))
	switch drain.VerdictOf(err) {
	case drain.Misplaced, drain.Forgotten:
		return &drain.Error{Verdict: drain.Retry, Reason: kafka.Code(err), Err: err}
	}
	return err
}
