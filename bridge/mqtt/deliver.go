package mqtt

import (
	"time"

	"cistern/bridge/mqtt/packet"
)

// deliveries is what one subscriber is yet to get. It exists from the first
// SUBSCRIBE on.
type deliveries struct {
	queue    []queued
	bytes    int             // of queue, reserved from Server.memory
	inflight map[uint16]bool // QoS 1 packet ids the client has not acked; its own PUBLISHes have ids of their own
	lastID   uint16
}

type queued struct {
	message *message
	how     delivery
}

// wishes is what a CONNECT said about deliveries.
type wishes struct {
	receiveMaximum int
	packetBytes    int
}

// receiveMaximumOut is the window towards subscribers that named none: 3.1.1
// has no word for it.
const receiveMaximumOut = 64

// deliveryLimits keeps what the client can take.
func (c *conn) deliveryLimits(p *packet.Connect) {
	c.wishes.receiveMaximum = min(receiveMaximumOut, int(p.Properties.Number(packet.ReceiveMaximum, receiveMaximumOut)))
	c.wishes.packetBytes = int(min(p.Properties.Number(packet.MaximumPacketSize, packet.RemainingLengthMax), packet.RemainingLengthMax))
}

// deliver queues m. A full queue costs a QoS 0 message, or a QoS 1 subscriber:
// skipping one of those silently would break its promise.
func (c *conn) deliver(m *message, how delivery) {
	how.qos = min(how.qos, m.qos)
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.deliveries
	if d == nil || c.ended.Load() {
		return
	}
	if len(d.queue) >= c.s.limits.QueueMessages || d.bytes+m.size > c.s.limits.QueueBytes || !c.s.memory.Reserve(m.size) {
		if how.qos == 0 {
			c.s.count.deliveryDropped.Inc()
			return
		}
		c.endLocked(packet.QuotaExceeded, "it subscribes at QoS 1 and does not keep up with what is published")
		return
	}
	d.queue = append(d.queue, queued{m, how})
	d.bytes += m.size
	c.pump()
}

// pump moves deliveries into the output, as far as it has room and the
// client's window allows. The order of the queue is kept across QoS. The mutex
// is held.
func (c *conn) pump() {
	d := c.deliveries
	if d == nil || c.ended.Load() {
		return
	}
	moved := 0
	for moved < len(d.queue) && c.output.size() < deliverHigh {
		q := d.queue[moved]
		if q.how.qos > 0 && len(d.inflight) >= c.wishes.receiveMaximum {
			break
		}
		c.send(q)
		d.bytes -= q.message.size
		c.s.memory.Release(q.message.size)
		d.queue[moved] = queued{}
		moved++
	}
	if d.queue = d.queue[moved:]; len(d.queue) == 0 {
		d.queue = nil
	}
}

// send writes one PUBLISH into the output.
func (c *conn) send(q queued) {
	now := time.Now()
	p := q.message.publish(q.how, 0, now)
	if q.message.expired(now) {
		return
	}
	if p.Size(c.version) > c.wishes.packetBytes {
		c.s.count.deliveryDropped.Inc() // the client said it can't take this
		return
	}
	if p.QoS > 0 {
		p.PacketID = c.deliveries.nextID()
		c.deliveries.inflight[p.PacketID] = true
	}
	b := c.output.open()
	b.b = p.AppendTo(b.b, c.version)
	c.s.count.delivered.Inc()
}

// nextID returns a packet id that is not in flight. There is one: the window
// is far smaller than the number of ids.
func (d *deliveries) nextID() uint16 {
	for {
		d.lastID++
		if d.lastID != 0 && !d.inflight[d.lastID] {
			return d.lastID
		}
	}
}

// acked takes a client's answer to a delivery. QoS 2 is never granted, so
// PUBREC and PUBCOMP belong to a session that is gone.
func (c *conn) acked(t packet.Type, body []byte) error {
	var p packet.Ack
	if err := p.Decode(c.version, body); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case t == packet.TypePubrec:
		c.ack(packet.TypePubrel, p.PacketID, packet.PacketIdentifierNotFound)
	case t == packet.TypePuback && c.deliveries != nil:
		delete(c.deliveries.inflight, p.PacketID)
		c.pump()
	}
	return nil
}

// dropDeliveries forgets what was queued. The mutex is held.
func (c *conn) dropDeliveries() {
	if c.deliveries != nil {
		c.s.memory.Release(c.deliveries.bytes)
		c.deliveries = nil
	}
}
