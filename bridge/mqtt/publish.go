package mqtt

import (
	"context"
	"errors"

	"cistern/bridge/mqtt/packet"
	"cistern/gossip/metadata"
	"cistern/segstore/ingest"
)

// noWait is a context that is done: what an Appender can't take at once, it
// refuses.
var noWait = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// publish takes one PUBLISH. An error ends the connection.
func (c *conn) publish(flags byte, body []byte) error {
	if c.scratch == nil {
		c.scratch = c.s.scratch.Get().(*scratch)
	}
	p := &c.scratch.publish
	if err := p.Decode(c.version, flags, body); err != nil {
		return err
	}
	if p.Properties.Has(packet.SubscriptionIdentifier) {
		return &packet.Error{Reason: packet.ProtocolError, What: "a client's PUBLISH with a subscription identifier"}
	}
	if err := c.resolveAlias(p); err != nil {
		return err
	}
	c.s.count.received[p.QoS].Inc()
	c.s.count.receivedBytes.Add(len(p.Payload))
	d := c.routed.find(p.Topic, c.s.router, c.client)
	if p.QoS == 0 {
		c.appendUnconfirmed(d, p)
		return nil
	}
	seq, isNew, err := c.enter(p)
	if err != nil || !isNew {
		return err
	}
	c.append(d, p, seq)
	return nil
}

// resolveAlias gives p its topic and remembers a new alias.
func (c *conn) resolveAlias(p *packet.Publish) error {
	if !p.Properties.Has(packet.TopicAlias) {
		return nil
	}
	alias := int(p.Properties.Number(packet.TopicAlias, 0))
	if alias > c.s.limits.TopicAliases {
		return &packet.Error{Reason: packet.TopicAliasInvalid, What: "a topic alias above the Topic Alias Maximum"}
	}
	if len(p.Topic) > 0 {
		return c.setAlias(alias, p.Topic)
	}
	if alias > len(c.aliases) || c.aliases[alias-1] == "" {
		return &packet.Error{Reason: packet.ProtocolError, What: "a topic alias that was never set"}
	}
	p.Topic = view(c.aliases[alias-1])
	return nil
}

func (c *conn) setAlias(alias int, topic []byte) error {
	for len(c.aliases) < alias {
		c.aliases = append(c.aliases, "")
	}
	old := c.aliases[alias-1]
	if old == string(topic) {
		return nil
	}
	more := len(topic) - len(old) // may be negative
	if !c.s.memory.Reserve(more) {
		return packet.ErrNoMemory
	}
	c.aliasBytes += more
	c.aliases[alias-1] = string(topic)
	return nil
}

// appendUnconfirmed appends a QoS 0 message, or counts that it could not.
func (c *conn) appendUnconfirmed(d *destination, p *packet.Publish) {
	if err := c.appendTo(noWait, d, p, nil, 0); err != nil {
		c.s.count.dropped.Inc()
		c.s.calm.warn("mqtt: QoS 0 message dropped", "client", c.client, "topic", d.topic, "error", err)
	}
}

// append hands a QoS 1 or 2 message to the Appender. Whatever comes of it
// settles the entry seq.
func (c *conn) append(d *destination, p *packet.Publish, seq uint64) {
	var err error
	if d.route != nil && d.route.Acks == metadata.AcksNone {
		err = c.appendTo(c.ctx, d, p, nil, 0)
	} else if err = c.appendTo(c.ctx, d, p, c, seq); err == nil {
		return // Complete will settle it
	}
	if err != nil {
		c.s.calm.warn("mqtt: message refused", "client", c.client, "topic", d.topic, "error", err)
	}
	c.mu.Lock()
	c.settle(seq, reasonFor(err))
	c.mu.Unlock()
}

func (c *conn) appendTo(ctx context.Context, d *destination, p *packet.Publish, done ingest.Completion, seq uint64) error {
	if d.route == nil {
		c.s.count.unrouted.Inc()
		return errUnrouted
	}
	client := ""
	if c.s.config.ClientHeader || c.noLocal {
		client = c.client
	}
	m := &c.scratch.mapper
	r := m.make(c.s.router, d, p, client, c.clock.lastRead)
	if m.dropped > 0 {
		c.s.count.reservedNames.Add(m.dropped)
	}
	return c.s.config.Appender.Append(ctx, d.partition, r, done, seq)
}

// reasonFor translates an Appender's error into what the client is told.
func reasonFor(err error) packet.Reason {
	switch {
	case err == nil:
		return packet.Success
	case errors.Is(err, errUnrouted):
		return packet.TopicNameInvalid
	case errors.Is(err, ingest.ErrFull):
		return packet.QuotaExceeded
	case errors.Is(err, ingest.ErrTooLarge), errors.Is(err, ingest.ErrUnknownPartition):
		return packet.ImplementationSpecificError
	}
	return packet.UnspecifiedError
}
