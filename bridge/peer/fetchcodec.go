package peer

import (
	"encoding/binary"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/replica"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// drainedTag is the tagged field, in a partition of a Fetch request or answer,
// that says below which offset nobody upstream needs anything: 8 bytes,
// big-endian. It is left out when that is 0. Kafka's own tags of those structures
// are 0 to 2; this one is far from where it will ever count to.
const drainedTag = 0x6373

func setDrained(tags *kmsg.Tags, offset int64) {
	if offset != 0 {
		tags.Set(drainedTag, binary.BigEndian.AppendUint64(nil, uint64(offset)))
	}
}

func drainedOf(tags *kmsg.Tags) (offset int64) {
	tags.Each(func(key uint32, value []byte) {
		if key == drainedTag && len(value) == 8 {
			offset = int64(binary.BigEndian.Uint64(value))
		}
	})
	return offset
}

func fetchRequest(r *replica.FetchRequest) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID = int32(r.Node)
	req.ReplicaState.ID, req.ReplicaState.Epoch = int32(r.Node), int64(r.Incarnation)
	req.MaxWaitMillis = int32(max(0, min(r.MaxWait, FetchWaitMax)).Milliseconds())
	req.MinBytes = 1
	req.MaxBytes = int32(max(0, min(r.MaxBytes, FetchBytesMax)))
	for i, f := range r.Partitions {
		if i == 0 || f.Partition.Stream != r.Partitions[i-1].Partition.Stream {
			t := kmsg.NewFetchRequestTopic()
			t.Topic = f.Partition.Stream
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch = f.Partition.Partition, f.LeaderEpoch
		p.FetchOffset, p.LastFetchedEpoch, p.HighWatermark = f.Offset, f.LastEpoch, f.HighWatermark
		p.PartitionMaxBytes = req.MaxBytes
		setDrained(&p.UnknownTags, f.Drained)
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, p)
	}
	return req
}

func readFetchRequest(req *kmsg.FetchRequest) *replica.FetchRequest {
	r := &replica.FetchRequest{
		Node:        metadata.NodeID(req.ReplicaState.ID),
		Incarnation: uint64(req.ReplicaState.Epoch),
		MaxWait:     max(0, min(time.Duration(req.MaxWaitMillis)*time.Millisecond, FetchWaitMax)),
		MaxBytes:    int(max(0, min(req.MaxBytes, FetchBytesMax))),
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			r.Partitions = append(r.Partitions, replica.FetchPartition{
				Partition:   metadata.PartitionID{Stream: t.Topic, Partition: p.Partition},
				LeaderEpoch: p.CurrentLeaderEpoch,
				Offset:      p.FetchOffset,
				LastEpoch:   p.LastFetchedEpoch,

				HighWatermark: p.HighWatermark,
				Drained:       drainedOf(&p.UnknownTags),
			})
		}
	}
	return r
}

func fetchResponse(a *replica.FetchAnswer) *kmsg.FetchResponse {
	resp := kmsg.NewPtrFetchResponse()
	if a == nil {
		return resp
	}
	for i := range a.Partitions {
		f := &a.Partitions[i]
		if i == 0 || f.Partition.Stream != a.Partitions[i-1].Partition.Stream {
			t := kmsg.NewFetchResponseTopic()
			t.Topic = f.Partition.Stream
			resp.Topics = append(resp.Topics, t)
		}
		t := &resp.Topics[len(resp.Topics)-1]
		t.Partitions = append(t.Partitions, fetchedPartition(f))
	}
	return resp
}

func fetchedPartition(f *replica.FetchedPartition) kmsg.FetchResponseTopicPartition {
	p := kmsg.NewFetchResponseTopicPartition()
	p.Partition = f.Partition.Partition
	p.ErrorCode = codeOf(f.Err)
	p.HighWatermark, p.LastStableOffset = f.HighWatermark, f.HighWatermark // there are no transactions
	p.LogStartOffset = f.LogStart
	p.CurrentLeader.LeaderEpoch = f.LeaderEpoch
	if d := f.Diverging; d != nil {
		p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = d.Epoch, d.EndOffset
	}
	setDrained(&p.UnknownTags, f.Drained)
	p.RecordBatches = f.Records
	return p
}

// readFetchResponse takes what a leader says as it is: which partitions were
// asked for, and what offsets can be, the follower knows.
func readFetchResponse(resp *kmsg.FetchResponse, gateway string) *replica.FetchAnswer {
	a := &replica.FetchAnswer{}
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			f := replica.FetchedPartition{
				Partition:     metadata.PartitionID{Stream: t.Topic, Partition: p.Partition},
				Err:           errorOf(p.ErrorCode, gateway, nil),
				LeaderEpoch:   p.CurrentLeader.LeaderEpoch,
				HighWatermark: p.HighWatermark,
				LogStart:      p.LogStartOffset,
				Drained:       drainedOf(&p.UnknownTags),
				Records:       p.RecordBatches,
			}
			if d := p.DivergingEpoch; d.Epoch != -1 || d.EndOffset != -1 { // -1: not there
				f.Diverging = &replica.Divergence{Epoch: d.Epoch, EndOffset: d.EndOffset}
			}
			a.Partitions = append(a.Partitions, f)
		}
	}
	return a
}
