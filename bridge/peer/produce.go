package peer

import (
	"cmp"
	"errors"
	"slices"

	"cistern/segstore/replica"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// call is one Produce request under way.
type call struct {
	link    *link
	batches []*replica.Append // in the order of the request
	bytes   int               // of records
}

// sort brings the batches of a stream together, as the request has them. Each
// is of another partition, so no order is lost.
func (c *call) sort() {
	slices.SortStableFunc(c.batches, func(a, b *replica.Append) int {
		return cmp.Compare(a.Partition.Stream, b.Partition.Stream)
	})
}

// encoder makes Produce requests. It keeps their parts from one to the next:
// a request is not needed any more once it is written.
type encoder struct {
	req        kmsg.ProduceRequest
	partitions []kmsg.ProduceRequestTopicPartition
}

func (e *encoder) request(batches []*replica.Append) *kmsg.ProduceRequest {
	e.req.Acks = int16(wireAcks(batches[0].Acks))
	e.req.TimeoutMillis = int32(ProduceWait.Milliseconds())
	e.req.Topics = e.req.Topics[:0]
	e.partitions = slices.Grow(e.partitions[:0], len(batches)) // they do not move below
	for i, a := range batches {
		if i == 0 || a.Partition.Stream != batches[i-1].Partition.Stream {
			e.req.Topics = append(e.req.Topics, kmsg.ProduceRequestTopic{Topic: a.Partition.Stream})
		}
		e.partitions = append(e.partitions, kmsg.ProduceRequestTopicPartition{Partition: a.Partition.Partition, Records: a.Batch})
		t := &e.req.Topics[len(e.req.Topics)-1]
		t.Partitions = e.partitions[len(e.partitions)-len(t.Partitions)-1:]
	}
	return &e.req
}

// release forgets the records of the last request.
func (e *encoder) release() { clear(e.partitions) }

// answered tells every batch what became of it.
func (c *call) answered(resp kmsg.Response, err error) {
	c.link.ended(c, err)
	to := c.link.remote.to
	if err != nil {
		refuse(c.batches, unreachable(to, err))
		return
	}
	r, _ := resp.(*kmsg.ProduceResponse)
	answers := answersOf(r)
	for i, a := range c.batches {
		switch p := findAnswer(answers, i, a); {
		case p == nil:
			finish(a, -1, unreachable(to, errLeftOut))
		case p.ErrorCode != 0:
			finish(a, -1, errorOf(p.ErrorCode, to.Name, p.ErrorMessage))
		default:
			finish(a, p.BaseOffset, nil)
		}
	}
}

var errLeftOut = errors.New("its answer leaves the batch out")

type produced struct {
	stream string
	*kmsg.ProduceResponseTopicPartition
}

func answersOf(r *kmsg.ProduceResponse) []produced {
	if r == nil {
		return nil
	}
	var all []produced
	for i := range r.Topics {
		t := &r.Topics[i]
		all = slices.Grow(all, len(t.Partitions))
		for j := range t.Partitions {
			all = append(all, produced{t.Topic, &t.Partitions[j]})
		}
	}
	return all
}

// findAnswer returns the answer for a: at its own place, where gateways put it,
// or wherever it is.
func findAnswer(answers []produced, at int, a *replica.Append) *kmsg.ProduceResponseTopicPartition {
	is := func(p produced) bool { return p.Partition == a.Partition.Partition && p.stream == a.Partition.Stream }
	if at < len(answers) && is(answers[at]) {
		return answers[at].ProduceResponseTopicPartition
	}
	if i := slices.IndexFunc(answers, is); i >= 0 {
		return answers[i].ProduceResponseTopicPartition
	}
	return nil
}
