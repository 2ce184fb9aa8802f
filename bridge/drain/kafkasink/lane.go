package kafkasink

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cistern/bridge/drain"
	"cistern/bridge/kafka"
	"cistern/segstore/batch"
)

// lane is one partition's way through a sender: in sequence mode, under a
// producer id, and at least once, without one.
type lane struct {
	sink   *Sink
	sender *sender
	mode   Mode
	to     drain.Target
	id     int64 // -1: at least once
	epoch  int16
	config kafka.TopicConfig
	halted bool // nothing may leave any more; guarded by sender.mu
}

// parcel is a batch on its way, or waiting for it.
type parcel struct {
	lane  *lane
	txn   *string // the transactional id that the batch belongs to
	batch kafka.Batch
	count int32
	done  func(upstream int64, err error)
}

// Target names where the lane leads.
func (l *lane) Target() string { return l.to.String() }

// Send gives the batch its identity upstream, in place, and queues it. The
// records are not touched, and neither is the error that a damaged batch's
// checksum shows: it arrives with it.
func (l *lane) Send(b []byte, h *batch.Header, sequence int32, done func(int64, error)) {
	rewrite := batch.Rewrite{
		BaseOffset:  0,
		LeaderEpoch: -1,
		Producer:    batch.Producer{ID: l.id, Epoch: l.epoch, Sequence: sequence},
	}
	if l.id < 0 {
		rewrite.Producer = batch.Producer{ID: -1, Epoch: -1, Sequence: -1}
	}
	var space [batch.HeaderLen]byte
	header, err := rewrite.AppendHeader(space[:0], b)
	if err != nil {
		// front has looked at this header: it can't happen, and if it does,
		// the stored bytes decide.
		done(-1, &drain.Error{Verdict: drain.Corrupt, Reason: "REWRITE", Err: fmt.Errorf("batch of offsets %d to %d: %w", h.BaseOffset, h.LastOffset(), err)})
		return
	}
	copy(b, header)
	l.warnRetention(h)
	l.sender.send(&parcel{
		lane:  l,
		batch: kafka.Batch{Topic: l.to.Topic, Partition: l.to.Partition, Bytes: b},
		count: h.Count,
		done:  done,
	})
}

// Traits: at least once, a reader has to be able to tell what came twice.
func (l *lane) Traits() drain.Traits {
	if l.mode != ModeAtLeastOnce {
		return drain.Traits{}
	}
	return drain.Traits{Window: 1, Identified: true, Unnumbered: true}
}

// Close takes back what has not left yet.
func (l *lane) Close() { l.sender.cancel(l) }

// warnRetention tells, once for each topic, that the cluster will delete at
// once what we bring: it counts from the records' timestamps.
func (l *lane) warnRetention(h *batch.Header) {
	if l.config.Retention <= 0 || l.config.LogAppendTime {
		return
	}
	age := l.sink.cfg.Now().Sub(time.UnixMilli(h.MaxTimestamp))
	if age <= l.config.Retention {
		return
	}
	state := l.sink.topics.want(l.to.Topic)
	l.sink.topics.mu.Lock()
	warned := state.warned
	state.warned = true
	l.sink.topics.mu.Unlock()
	if !warned {
		l.sink.cfg.Logger.Warn("records are older than the topic keeps them: upstream deletes them soon after they arrive",
			"topic", l.to.Topic, "age", age.Round(time.Second), "retention", l.config.Retention)
	}
}

// settle gives the answer its meaning.
func (p *parcel) settle(r kafka.Produced) {
	switch {
	case r.Err == nil && r.BaseOffset >= 0:
		p.done(r.BaseOffset+int64(p.count), nil)
	case r.Err == nil, errors.Is(r.Err, kerr.DuplicateSequenceNumber):
		p.done(-1, nil) // it is there: where is not told
	default:
		err := classify(advise(r.Err, p.lane.mode))
		if drain.VerdictOf(err) == drain.Retry {
			p.lane.sink.topics.distrust(p.lane.to.Topic)
		}
		p.fail(err)
	}
}

// fail tells of a failure. In sequence mode the broker then refuses what was sent
// behind this batch. At least once nobody does, and what waits must not pass it:
// the lane ends.
func (p *parcel) fail(err error) {
	ends := p.lane.mode == ModeAtLeastOnce
	if ends {
		p.lane.sender.halt(p.lane)
	}
	p.done(-1, err)
	if ends {
		p.lane.sender.cancel(p.lane)
	}
}
