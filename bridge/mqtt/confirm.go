package mqtt

import (
	"cistern/bridge/mqtt/packet"
)

// enter puts a QoS 1 or 2 PUBLISH into the ack queue, once the window has room
// for it. It is not new when it was sent before and that copy still counts: its
// ack answers both.
func (c *conn) enter(p *packet.Publish) (seq uint64, isNew bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isDuplicate(p) {
		c.s.count.duplicates.Inc()
		return 0, false, nil
	}
	if err := c.window(); err != nil {
		return 0, false, err
	}
	if p.QoS == 2 {
		if len(c.unreleased) >= unreleasedMax {
			return 0, false, &packet.Error{Reason: packet.QuotaExceeded, What: "too many QoS 2 messages without PUBREL"}
		}
		if c.unreleased == nil {
			c.unreleased = map[uint16]bool{}
		}
		c.unreleased[p.PacketID] = false
	}
	return c.acks.Push(p.PacketID, p.QoS), true, nil
}

// isDuplicate recognises a PUBLISH that was sent again in this session: a QoS 2
// packet id without PUBREL, or a QoS 1 one that says DUP while the first copy
// waits for its commit.
func (c *conn) isDuplicate(p *packet.Publish) bool {
	if p.QoS == 1 {
		return p.Dup && c.acks.Waiting(p.PacketID)
	}
	stored, known := c.unreleased[p.PacketID]
	if stored { // its PUBREC may be lost
		c.ack(packet.TypePubrec, p.PacketID, packet.Success)
	}
	return known
}

// window waits for room (3.1.1) or insists on it (5.0: the client was told the
// Receive Maximum, which counts QoS 2 messages until their PUBCOMP).
func (c *conn) window() error {
	limit := c.s.limits.ReceiveMaximum
	if c.version == packet.V5 {
		if c.acks.Len()+c.committed >= limit {
			return &packet.Error{Reason: packet.ReceiveMaximumExceeded, What: "more unconfirmed messages than the Receive Maximum"}
		}
		return nil
	}
	for c.acks.Len() >= limit && !c.ended.Load() && !c.s.stopping.Load() {
		c.flush()
		c.reading = true
		c.changed.Wait()
		c.reading = false
	}
	return c.lookAround()
}

// Complete implements ingest.Completion. The caller is a commit that confirms
// many clients: nothing here waits.
func (c *conn) Complete(seq uint64, _ int64, err error) (flush bool) {
	reason := reasonFor(err)
	if err != nil {
		c.s.calm.warn("mqtt: message not stored", "client", c.client, "error", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(seq, reason)
	if c.output.size() == 0 || c.output.writing || c.flushDue {
		return false
	}
	c.flushDue = true
	return true
}

// Flush implements ingest.Completion.
func (c *conn) Flush() {
	c.mu.Lock()
	c.flushDue = false
	c.flush()
	c.mu.Unlock()
}

// settle records an outcome and confirms what has become due. The mutex is
// held.
func (c *conn) settle(seq uint64, reason packet.Reason) {
	c.acks.Settle(seq, reason)
	for {
		a, ok := c.acks.Pop()
		if !ok {
			break
		}
		c.confirm(a)
	}
	if c.reading && c.acks.Len() <= c.s.limits.ReceiveMaximum/2 {
		c.changed.Broadcast()
	}
}

// confirm tells the client about one PUBLISH.
func (c *conn) confirm(a Ack) {
	if a.Reason.Failed() {
		c.s.count.refused.Inc()
	} else {
		c.s.count.confirmed.Inc()
	}
	if c.ended.Load() {
		return
	}
	if a.Reason.Failed() && c.version != packet.V5 {
		c.endLocked(a.Reason, "its message was not stored, and MQTT 3.1.1 has no other way to say so")
		return
	}
	if a.QoS == 1 {
		c.ack(packet.TypePuback, a.PacketID, a.Reason)
		return
	}
	if a.Reason.Failed() {
		delete(c.unreleased, a.PacketID)
	} else {
		c.unreleased[a.PacketID] = true
		c.committed++
	}
	c.ack(packet.TypePubrec, a.PacketID, a.Reason)
}

// pubrel ends a QoS 2 exchange. An unknown id is answered too: its session
// may be gone, and the client must be able to forget it.
func (c *conn) pubrel(body []byte) error {
	var p packet.Ack
	if err := p.Decode(c.version, body); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	stored, known := c.unreleased[p.PacketID]
	switch {
	case !known:
		c.ack(packet.TypePubcomp, p.PacketID, packet.PacketIdentifierNotFound)
		return nil
	case !stored:
		return &packet.Error{Reason: packet.ProtocolError, What: "PUBREL before PUBREC"}
	}
	delete(c.unreleased, p.PacketID)
	c.committed--
	c.ack(packet.TypePubcomp, p.PacketID, packet.Success)
	return nil
}
