package mqtt

import (
	"errors"
	"strings"

	"cistern/bridge/mqtt/packet"
)

// maxGranted is the QoS of deliveries: QoS 2 towards subscribers needs a
// session that outlives the connection.
const maxGranted = 1

// subscribe answers a SUBSCRIBE filter by filter.
func (c *conn) subscribe(body []byte) error {
	var p packet.Subscribe
	if err := p.Decode(c.version, body); err != nil {
		return err
	}
	ack := packet.Suback{PacketID: p.PacketID}
	hasID := p.Properties.Has(packet.SubscriptionIdentifier)
	for filter, options := range p.Filters() {
		reason := packet.SubscriptionIDsNotSupported
		if !hasID {
			reason = c.subscribeOne(string(filter), options)
		}
		ack.Reasons = append(ack.Reasons, byte(reason))
	}
	c.answer(func(b []byte) []byte { return ack.AppendTo(b, c.version, packet.TypeSuback) })
	return nil
}

func (c *conn) subscribeOne(filter string, o packet.Options) packet.Reason {
	switch {
	case !packet.ValidFilter(filter) || strings.Count(filter, "/") >= topicLevelsMax:
		return packet.TopicFilterInvalid
	case strings.HasPrefix(filter, packet.SharedPrefix):
		return packet.SharedNotSupported
	case c.s.config.Logs == nil:
		return packet.ImplementationSpecificError
	}
	old := c.subscriptions[filter]
	if old == nil && len(c.subscriptions) >= c.s.limits.Subscriptions {
		return packet.QuotaExceeded
	}
	sub := &subscription{conn: c, filter: filter, qos: min(o.QoS(), maxGranted), noLocal: o.NoLocal(), retainAsPublished: o.RetainAsPublished()}
	c.expectDeliveries()
	if err := c.s.fanout.subscribe(sub); err != nil {
		c.s.calm.warn("mqtt: can't subscribe", "client", c.client, "filter", filter, "error", err)
		if errors.Is(err, packet.ErrNoMemory) {
			return packet.QuotaExceeded
		}
		return packet.UnspecifiedError
	}
	if old != nil { // replaced only now, so that nothing is missed between
		c.s.fanout.unsubscribe(old)
	}
	c.subscriptions[filter] = sub
	c.noLocal = c.noLocal || sub.noLocal
	return packet.Reason(sub.qos)
}

func (c *conn) expectDeliveries() {
	if c.subscriptions == nil {
		c.subscriptions = map[string]*subscription{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deliveries == nil {
		c.deliveries = &deliveries{inflight: map[uint16]bool{}}
	}
}

// unsubscribe answers an UNSUBSCRIBE filter by filter.
func (c *conn) unsubscribe(body []byte) error {
	var p packet.Unsubscribe
	if err := p.Decode(c.version, body); err != nil {
		return err
	}
	ack := packet.Suback{PacketID: p.PacketID}
	for filter := range p.Filters() {
		reason := packet.NoSubscriptionExisted
		if sub := c.subscriptions[string(filter)]; sub != nil {
			c.s.fanout.unsubscribe(sub)
			delete(c.subscriptions, sub.filter)
			reason = packet.Success
		}
		ack.Reasons = append(ack.Reasons, byte(reason))
	}
	c.answer(func(b []byte) []byte { return ack.AppendTo(b, c.version, packet.TypeUnsuback) })
	return nil
}

// answer queues a packet for the client.
func (c *conn) answer(write func([]byte) []byte) {
	c.mu.Lock()
	c.control(write)
	c.mu.Unlock()
}
