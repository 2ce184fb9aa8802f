package kafkasink

import (
	"context"
	"errors"
	"fmt"

	"cistern/bridge/drain"
	"cistern/bridge/kafka"
	"cistern/gossip/metadata"
)

// place is one upstream partition, at its leader.
type place struct {
	s      *Sink
	from   metadata.PartitionID
	leader int32
	to     drain.Target
}

// position makes the cursor say where we are at the target in sequence mode,
// taking a new producer id where what the target knew of us is gone or was never
// there.
func (l place) position(ctx context.Context, c *drain.Cursor, how drain.Opening) error {
	switch {
	case c.Producer < 0:
		return l.incarnate(ctx, c, "none yet")
	case !sameTopic(c.Target, l.to):
		if found, err := l.madeAnew(ctx, c); err != nil || found {
			return err
		}
		return l.incarnate(ctx, c, fmt.Sprintf("new target, it was %s of cluster %q", c.Target, c.Target.Cluster))
	case !how.First && !how.Relocate:
		return nil
	}
	listed, err := l.described(ctx, c)
	if err != nil || listed {
		return err
	}
	if !c.InDoubt && !how.Relocate {
		return nil
	}
	before, acked := c.Position, c.Upstream
	if err := l.scan(ctx, c); err != nil {
		return l.blind(c, how, err)
	}
	if how.Contradicted && c.Position == before {
		if err := l.searchLost(ctx, c, acked); err != nil {
			return err
		}
	}
	if how.Forgotten || how.Contradicted && c.Position == before && l.expired(c) {
		return l.incarnate(ctx, c, "upstream no longer knows the producer id")
	}
	return nil
}

// look finds a position that sequence mode has left, as well as can be.
func (l place) look(ctx context.Context, c *drain.Cursor) error {
	listed, err := l.described(ctx, c)
	if err != nil || listed || !c.InDoubt {
		return err
	}
	return l.scan(ctx, c)
}

// blind decides whether to go on without a search that is not allowed: as long
// as the broker remembers the producer, it knows a resend when it sees one.
func (l place) blind(c *drain.Cursor, how drain.Opening, err error) error {
	if classifyVerdict(err) != drain.Denied || how.Contradicted || l.expired(c) {
		return err
	}
	l.s.cfg.Logger.Warn("can't search upstream for what a crash left in doubt: grant READ on the topic", "target", l.to.String(), "error", err)
	return nil
}

// expired reports whether brokers may have forgotten our producer. Only then is
// a new id safe: under another one a request that is still on its way, sent
// before a crash, would be admitted a second time.
func (l place) expired(c *drain.Cursor) bool {
	return l.s.cfg.Now().UnixMilli()-c.AckedAt > drain.SilenceMax.Milliseconds()
}

// incarnate takes a new producer id, whose sequence begins at the position.
func (l place) incarnate(ctx context.Context, c *drain.Cursor, why string) error {
	end, err := l.s.client.Offset(ctx, l.leader, l.to.Topic, l.to.Partition, kafka.Latest)
	if err != nil {
		return err
	}
	id, epoch, err := l.s.client.InitProducerID(ctx)
	if err != nil {
		return err
	}
	c.Incarnate(l.s.cfg.Now(), l.to, id, epoch, end)
	l.s.cfg.Logger.Info("new producer id upstream", "target", l.to.String(), "cluster", l.to.Cluster,
		"producer", id, "position", c.Position, "incarnation", c.Incarnation, "why", why)
	return nil
}

// described asks the leader for our last sequence number. It is false when
// the leader does not list us, does not know the request, or may not tell.
func (l place) described(ctx context.Context, c *drain.Cursor) (bool, error) {
	states, err := l.s.client.Producers(ctx, l.leader, l.to.Topic, l.to.Partition)
	if errors.Is(err, kafka.ErrTooOld) || err != nil && classifyVerdict(err) == drain.Denied {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, st := range states {
		if st.ID != c.Producer || st.Epoch != int32(c.Epoch) || st.LastSequence < 0 {
			continue
		}
		was := c.Position
		if c.Position = c.OffsetOf(st.LastSequence) + 1; c.Position < was {
			l.sayLost(c.Position, was)
		}
		return true, nil
	}
	return false, nil
}

// sayLost says that upstream has less of ours than it had confirmed.
func (l place) sayLost(from, to int64) {
	l.s.cfg.Logger.Error("upstream lost records that it had confirmed; sending again what is still here",
		"target", l.to.String(), "from", from, "to", to)
}

func classifyVerdict(err error) drain.Verdict { return drain.VerdictOf(classify(err)) }
