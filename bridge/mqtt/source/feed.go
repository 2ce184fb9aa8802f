package source

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/ingest"
)

// errDropped says that a QoS 0 message was refused and is already counted.
var errDropped = errors.New("dropped")

// handle is called by paho for one message after the other. It only enqueues.
func (c *connection) handle(_ mqtt.Client, m mqtt.Message) {
	c.state.received.Add(1)
	_, settled := c.guard.Load().cut(m.MessageID())
	if !settled && m.Retained() && c.config.Retained == RetainedSkip {
		c.state.skipped.Add(1)
		settled = true
	}
	if err := c.window.put(c.ctx, m, settled, c.timing.stall); err != nil {
		// Not acknowledged, so the broker sends it again; and everything
		// behind it must wait for that.
		c.fail(err)
	}
}

// feed appends the messages of the window in order, one at a time.
func (c *connection) feed() {
	var record batch.Record
	for {
		seq, m, err := c.window.next(c.ctx)
		if err != nil {
			return
		}
		record = batch.Record{Headers: record.Headers[:0]}
		partition, err := c.router.Map(m.Topic(), m.Payload(), m.Qos(), m.Retained(), m.Duplicate(), &record)
		if err == nil {
			err = c.append(partition, &record, m.Qos(), seq)
		}
		switch {
		case err == nil:
			continue // Complete settles it
		case c.ctx.Err() != nil:
			return
		case err != errDropped:
			c.reject(m.Topic(), len(m.Payload()), err)
		}
		c.window.settle(seq)
		c.window.Flush()
	}
}

// append hands one record over, as often as it takes. An error means that this
// record can't be stored, or that the connection is over.
func (c *connection) append(p metadata.PartitionID, r *batch.Record, qos byte, seq uint64) error {
	pause := backoff{min: c.timing.retryMin, max: c.timing.retryMax}
	for waiting := false; ; waiting = true {
		err := c.appender.Append(c.ctx, p, r, c.window, seq)
		switch {
		case err == nil:
			if waiting {
				c.state.setWaiting("")
			}
			return nil
		case errors.Is(err, ingest.ErrTooLarge) || c.ctx.Err() != nil:
			return err
		case qos == 0:
			c.state.dropped.Add(1)
			c.state.setError(fmt.Errorf("mqtt source %s: a QoS 0 message was dropped: %w", c.config.URL, err))
			return errDropped
		}
		if !waiting {
			c.log.Warn("the gateway takes no messages; the broker keeps them", "partition", p, "error", err)
		}
		c.state.setWaiting(err.Error())
		if !sleep(c.ctx, pause.next()) {
			return c.ctx.Err()
		}
	}
}

// acknowledge acks in order of arrival until ctx ends, or the window is
// drained.
func (c *connection) acknowledge(ctx context.Context) {
	var run []mqtt.Message
	for {
		var err error
		if run, err = c.window.ready(ctx, run); err != nil || len(run) == 0 {
			return
		}
		for _, m := range run {
			m.Ack() // after the connection's end paho drops it
		}
		c.window.release(len(run))
		clear(run) // the payloads go with the slots
	}
}

// reject counts a message that can never be stored.
func (c *connection) reject(topic string, bytes int, err error) {
	c.state.rejected.Add(1)
	what := fmt.Sprintf("message of %d bytes on topic %.100q: %v", bytes, topic, err)
	c.state.set(func(s *Status) { s.LastRejected = what })
	if n, ok := c.rejected.allow(); ok {
		c.log.Error("a message can't be stored and was acknowledged", "message", what, "since_last_report", n)
	}
}

// tooLarge is the guard's report of a PUBLISH whose payload it discarded.
func (c *connection) tooLarge(topic string, bytes int, qos byte) {
	if qos == 0 {
		c.state.received.Add(1) // paho won't see it
	}
	c.reject(topic, bytes, fmt.Errorf("larger than %d bytes, the most that fits", PacketBytesMax))
}

// logLimit lets one report a minute through.
type logLimit struct {
	mu     sync.Mutex
	last   time.Time
	missed int64
}

func (l *logLimit) allow() (n int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.missed++
	if !l.last.IsZero() && time.Since(l.last) < time.Minute {
		return 0, false
	}
	n, l.missed, l.last = l.missed, 0, time.Now()
	return n, true
}
