package peer

import (
	"fmt"
	"sync"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/replica"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ticket is one Produce request that waits for the journal. It is answered once:
// when the last of its batches is done, or when its time is over.
type ticket struct {
	respond func(kmsg.Response)

	mu      sync.Mutex
	resp    *kmsg.ProduceResponse // nil once it was handed over
	waiting int                   // batches that are not done
	timer   *time.Timer
}

// newTicket returns the ticket of a request and its batches. Until a batch is
// done its answer says REQUEST_TIMED_OUT, so that the whole can leave any time.
func newTicket(r *kmsg.ProduceRequest, respond func(kmsg.Response)) (*ticket, []*replica.Append) {
	t := &ticket{respond: respond, resp: kmsg.NewPtrProduceResponse()}
	t.resp.Topics = make([]kmsg.ProduceResponseTopic, len(r.Topics))
	var batches []*replica.Append
	for i := range r.Topics {
		in, out := &r.Topics[i], &t.resp.Topics[i]
		out.Topic = in.Topic
		out.Partitions = make([]kmsg.ProduceResponseTopicPartition, len(in.Partitions))
		for j := range in.Partitions {
			p, answer := &in.Partitions[j], &out.Partitions[j]
			answer.Default()
			answer.Partition, answer.BaseOffset = p.Partition, -1
			if answer.ErrorCode, answer.ErrorMessage = judge(r.Acks, p.Records); answer.ErrorCode != 0 {
				continue
			}
			answer.ErrorCode = kerr.RequestTimedOut.Code
			batches = append(batches, &replica.Append{
				Partition: metadata.PartitionID{Stream: in.Topic, Partition: p.Partition},
				Batch:     p.Records,
				Acks:      metadata.Acks(r.Acks),
				Done:      func(a *replica.Append) { t.done(a, answer) },
			})
		}
	}
	t.waiting = len(batches)
	return t, batches
}

// judge refuses what no journal has to see.
func judge(acks int16, records []byte) (code int16, text *string) {
	switch {
	case acks != int16(metadata.AcksAll) && acks != int16(metadata.AcksLeader):
		return kerr.InvalidRequiredAcks.Code, nil
	case len(records) == 0:
		return codeOf(replica.ErrCorrupt), textOf(fmt.Errorf("%w: it is empty", replica.ErrCorrupt))
	case len(records) > metadata.BatchBytesMax:
		return codeOf(replica.ErrTooLarge), textOf(fmt.Errorf("%w: %d bytes, at most %d", replica.ErrTooLarge, len(records), metadata.BatchBytesMax))
	}
	return 0, nil
}

// limit answers the ticket after d, whatever is known by then.
func (t *ticket) limit(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(d, t.answer)
}

// done notes what became of one batch, unless the answer has left already.
func (t *ticket) done(a *replica.Append, answer *kmsg.ProduceResponseTopicPartition) {
	t.mu.Lock()
	if t.resp != nil {
		answer.ErrorCode, answer.BaseOffset = codeOf(a.Err), a.BaseOffset
		if a.Err != nil {
			answer.BaseOffset, answer.ErrorMessage = -1, textOf(a.Err)
		}
	}
	t.waiting--
	last := t.waiting == 0
	t.mu.Unlock()
	if last {
		t.answer()
	}
}

func (t *ticket) answer() {
	t.mu.Lock()
	resp := t.resp
	t.resp = nil
	if t.timer != nil {
		t.timer.Stop()
	}
	t.mu.Unlock()
	if resp != nil {
		t.respond(resp)
	}
}
