package mqtt

import (
	"cistern/bridge/mqtt/packet"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// tail follows one partition while somebody subscribes to it.
type tail struct {
	fanout    *fanout
	partition metadata.PartitionID
	log       Log
	moved     <-chan struct{}
	unwatch   func()
	done      chan struct{}
	users     int   // subscriptions; guarded by fanout.mu
	next      int64 // offset to hand out next; written with fanout.mu held for reading, by run alone

	buf     []byte // batches as read
	matched []*subscription
	targets map[*conn]delivery // who gets the record at hand: once, whatever the number of filters
	touched map[*conn]bool     // have new deliveries that were not flushed
}

// delivery is how one client gets one message.
type delivery struct {
	qos    byte // the best of its matching filters
	retain bool // pass the retain flag on
}

func (d delivery) with(sub *subscription) delivery {
	return delivery{max(d.qos, sub.qos), d.retain || sub.retainAsPublished}
}

const (
	tailReadBytes = 64 << 10                    // per Read; one batch may be larger
	tailBatchMax  = 16 * metadata.BatchBytesMax // decompressed size of a batch
)

func (t *tail) run() {
	defer t.unwatch()
	for {
		t.catchUp()
		select {
		case <-t.moved:
		case <-t.done:
			return
		}
	}
}

// catchUp hands out everything that is committed.
func (t *tail) catchUp() {
	for t.next < t.log.HighWatermark() {
		select {
		case <-t.done:
			return
		default:
		}
		before := t.next
		if err := t.step(); err != nil || t.next == before {
			t.skip(err)
		}
	}
	t.buf = nil // an idle tail keeps nothing
}

// step reads and hands out some batches.
func (t *tail) step() error {
	buf, err := t.log.Read(t.next, t.buf[:0], tailReadBytes)
	if err != nil {
		return err
	}
	t.buf = buf
	defer t.flush()
	for len(buf) > 0 {
		one, rest, err := batch.Next(buf)
		if err != nil {
			return err
		}
		header, err := batch.ParseHeader(one)
		if err != nil {
			return err
		}
		for r, err := range batch.Records(one, tailBatchMax) {
			if err != nil {
				return err
			}
			if r.Offset >= t.next {
				t.deliver(&r)
			}
		}
		t.advance(header.NextOffset())
		buf = rest
	}
	return nil
}

// skip goes on at the end of what is committed: a subscriber is better served
// with what comes next than with nothing. The log's owner reports corruption.
func (t *tail) skip(err error) {
	end := t.log.HighWatermark()
	t.fanout.s.count.deliveryErrors.Inc()
	t.fanout.s.calm.warn("mqtt: subscribers miss committed records that can't be read",
		"partition", t.partition.String(), "first", t.next, "last", end-1, "error", err)
	t.advance(end)
}

func (t *tail) advance(next int64) {
	t.fanout.mu.RLock()
	t.next = max(t.next, next)
	t.fanout.mu.RUnlock()
}

// deliver hands one record to everybody who wants it.
func (t *tail) deliver(r *batch.Record) {
	t.fanout.mu.RLock()
	defer t.fanout.mu.RUnlock()
	t.next = r.Offset + 1
	topic := topicOf(r)
	if !packet.ValidTopic(topic) || topic[0] == '$' {
		return // produced by something that is not MQTT
	}
	t.matched = t.fanout.tree.match(t.matched[:0], topic)
	if len(t.matched) == 0 {
		return
	}
	m := newMessage(r, topic)
	for _, sub := range t.matched {
		if sub.wants(t, r.Offset) && !(sub.noLocal && m.client == sub.conn.client) {
			t.targets[sub.conn] = t.targets[sub.conn].with(sub)
		}
	}
	for c, how := range t.targets {
		c.deliver(m, how)
		t.touched[c] = true
	}
	clear(t.targets)
	clear(t.matched)
}

// flush starts writing what deliver queued.
func (t *tail) flush() {
	for c := range t.touched {
		c.mu.Lock()
		c.flush()
		c.mu.Unlock()
	}
	clear(t.touched)
}
