package mqttsink

import (
	"context"
	"errors"
	"fmt"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"cistern/bridge/drain"
	"cistern/segstore/batch"
)

// flight is a message that was handed to paho.
type flight struct {
	token  mqtt.Token
	parcel *parcel
	offset int64
	size   int
}

// publishAll publishes parcel after parcel until the connection ends.
func (c *conn) publishAll() {
	for {
		p := c.take(c.ctx)
		if p == nil {
			return
		}
		err := c.publish(p)
		if c.ctx.Err() != nil {
			return // end tells
		}
		c.handed(p, err)
	}
}

// publish publishes the records of a batch that the broker has not got yet.
func (c *conn) publish(p *parcel) error {
	if _, err := batch.Verify(p.bytes); err != nil {
		return &drain.Error{Verdict: drain.Corrupt, Reason: "CHECKSUM", Err: err}
	}
	from := c.suspicion.arrived(p.lane.key, p.header.BaseOffset)
	for r, err := range batch.Records(p.bytes, DecodedBytesMax) {
		if err != nil {
			return &drain.Error{Verdict: drain.Refused, Reason: "UNDECODABLE", Err: err}
		}
		if r.Offset < from {
			continue
		}
		if err := c.message(p, &r); err != nil {
			return err
		}
	}
	return nil
}

// message hands one record to paho and waits until it is written.
func (c *conn) message(p *parcel, r *batch.Record) error {
	topic := c.topicOf(p.lane.key.partition, r.Key)
	size := len(topic) + len(r.Value)
	if err := c.enter(c.ctx, p, r.Offset, size); err != nil {
		return err
	}
	value := r.Value
	if value == nil {
		value = []byte{}
	}
	wrote := c.guard.Load().wrote
	select { // of a message that was acknowledged before we looked
	case <-wrote:
	default:
	}
	token := c.client.Publish(topic, c.cfg.QoS, false, value)
	c.flying <- flight{token, p, r.Offset, size}
	select {
	case <-wrote:
		return nil
	case <-token.Done(): // refused by paho, or acknowledged already
		return nil
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

// acknowledge takes in the broker's answers, in the order of publishing.
func (c *conn) acknowledge() {
	for {
		select {
		case f := <-c.flying:
			if err := c.await(f.token); err != nil {
				c.fail(err)
				return
			}
			c.suspicion.acknowledged(f.parcel.lane.key, f.offset)
			if !c.suspicion.struck() {
				c.useful.Store(true)
			}
			c.acknowledged(f)
		case <-c.ctx.Done():
			return
		}
	}
}

// await waits for a message's acknowledgement, as long as something moves.
func (c *conn) await(token mqtt.Token) error {
	since := time.Now()
	timer := time.NewTimer(c.timing.answer)
	defer timer.Stop()
	for {
		select {
		case <-token.Done():
			if err := token.Error(); err != nil {
				if cause := context.Cause(c.ctx); cause != nil {
					return cause
				}
				return fmt.Errorf("publishing: %w", err)
			}
			return nil
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		case <-timer.C:
			moved := time.Unix(0, c.guard.Load().moved.Load())
			if moved.Before(since) {
				moved = since
			}
			if left := c.timing.answer - time.Since(moved); left > 0 {
				timer.Reset(left)
				continue
			}
			return errUnanswered
		}
	}
}

var errUnanswered = errors.New("the broker did not acknowledge a message in time")
