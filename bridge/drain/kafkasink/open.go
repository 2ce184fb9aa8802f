package kafkasink

import (
	"context"
	"fmt"

	"cistern/bridge/drain"
	"cistern/bridge/kafka"
	"cistern/gossip/metadata"
)

// Open finds where partition p goes and how far it is there.
func (s *Sink) Open(ctx context.Context, p metadata.PartitionID, c *drain.Cursor, how drain.Opening) (drain.Lane, error) {
	name := expand(s.cfg.Topic, s.cfg.Site, p.Stream)
	cluster, topic, err := s.topic(ctx, name, p.Stream)
	if err != nil {
		return nil, err
	}
	to := target(p, c, cluster, topic)
	at := topic.Partitions[to.Partition]
	if at.Err != nil || at.Leader < 0 {
		s.topics.distrust(name)
		return nil, fmt.Errorf("%s has no leader upstream at the moment: %w", to, orNone(at.Err))
	}
	mode, _ := s.link.mode()
	place := place{s: s, from: p, leader: at.Leader, to: to}
	home, err := place.settle(ctx, c, how, mode)
	if err != nil {
		return nil, s.misled(name, mode, err)
	}
	sender, err := s.sender(ctx, route{at.Leader, how.Flow})
	if err != nil {
		return nil, s.misled(name, mode, err)
	}
	way := lane{
		sink:   s,
		sender: sender,
		mode:   mode,
		to:     to,
		id:     c.Producer,
		epoch:  c.Epoch,
		config: s.configOf(ctx, name),
	}
	if mode != ModeTransaction {
		return &way, nil
	}
	l := &txnLane{lane: way, txn: home.txn, position: home.position, bytesMax: TxnBytesMin, wake: make(chan struct{}, 1)}
	return l, s.serveTxn(l)
}

// settle makes the cursor fit for a mode: its identity, its position.
func (l place) settle(ctx context.Context, c *drain.Cursor, how drain.Opening, mode Mode) (h home, err error) {
	if err := l.inherit(ctx, c, mode); err != nil {
		return h, err
	}
	switch mode {
	case ModeTransaction:
		return l.transact(ctx, c)
	case ModeAtLeastOnce:
		l.unidentified(c)
		return h, nil
	}
	return h, l.position(ctx, c, how)
}

// misled gives an error its verdict, and has leaders looked up again: whoever
// we asked was not the one to ask, or did not answer.
func (s *Sink) misled(topic string, mode Mode, err error) error {
	s.topics.distrust(topic)
	if mode == ModeTransaction {
		return classifyTxn(err)
	}
	return classify(advise(err, mode))
}

func orNone(err error) error {
	if err == nil {
		return fmt.Errorf("leader is none")
	}
	return err
}

// target returns where p goes. The first choice is kept as long as the topic
// has that partition: a topic that gets more partitions must not split what
// was ordered.
func target(p metadata.PartitionID, c *drain.Cursor, cluster *kafka.Cluster, topic kafka.Topic) drain.Target {
	count := int32(len(topic.Partitions))
	to := drain.Target{Cluster: cluster.ID, Topic: topic.Name, TopicID: topic.ID, Partition: p.Partition % count}
	if c.Target.Cluster == to.Cluster && c.Target.Topic == to.Topic && c.Target.Partition < count {
		to.Partition = c.Target.Partition
	}
	return to
}

// sameTopic reports whether a and b are the same incarnation of a topic: one
// that was deleted and created again has nothing of ours. Clusters that do not
// tell topic ids get the benefit of the doubt.
func sameTopic(a, b drain.Target) bool {
	var none [16]byte
	if a.TopicID == none || b.TopicID == none {
		a.TopicID, b.TopicID = none, none
	}
	return a == b
}
