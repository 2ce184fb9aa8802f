package peer

import (
	"encoding/binary"
	"fmt"

	"cistern/gossip/metadata"
	"cistern/segstore/replica"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// consumer is the replica id of whoever keeps no copy. Followers never say so: a
// Fetch with it asks for what lies on flash, of any copy (KIP-392).
const consumer = -1

// resumeTag is the tagged field, in a partition of a Fetch answer, that says where
// a copy goes on which does not have what was asked for: 8 bytes, big-endian. It is
// left out when that is nowhere.
const resumeTag = 0x6374

func isRecall(req *kmsg.FetchRequest) bool {
	return req.ReplicaID == consumer && req.ReplicaState.ID == consumer
}

func recallRequest(r *replica.RecallRequest) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest() // of a consumer, unless told otherwise
	req.MinBytes = 1
	req.MaxBytes = int32(max(0, min(r.MaxBytes, FetchBytesMax)))
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = r.Partition.Partition, r.Offset, req.MaxBytes
	t := kmsg.NewFetchRequestTopic()
	t.Topic = r.Partition.Stream
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// serveRecall answers a consumer's Fetch, within the bytes that it may have.
func serveRecall(s replica.Service, req *kmsg.FetchRequest) *kmsg.FetchResponse {
	resp := kmsg.NewPtrFetchResponse()
	left := int(max(0, min(req.MaxBytes, FetchBytesMax)))
	for i := range req.Topics {
		t := kmsg.NewFetchResponseTopic()
		t.Topic = req.Topics[i].Topic
		for j := range req.Topics[i].Partitions {
			p := &req.Topics[i].Partitions[j]
			if left <= 0 {
				break // what is left out is asked for again
			}
			a := s.Recall(&replica.RecallRequest{Partition: metadata.PartitionID{Stream: t.Topic, Partition: p.Partition},
				Offset: p.FetchOffset, MaxBytes: min(left, int(max(0, p.PartitionMaxBytes)))})
			left -= len(a.Records)
			t.Partitions = append(t.Partitions, recalledPartition(p.Partition, a))
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

func recalledPartition(partition int32, a *replica.RecallAnswer) kmsg.FetchResponseTopicPartition {
	p := kmsg.NewFetchResponseTopicPartition()
	p.Partition, p.ErrorCode, p.RecordBatches = partition, codeOf(a.Err), a.Records
	if a.Resume > 0 {
		p.UnknownTags.Set(resumeTag, binary.BigEndian.AppendUint64(nil, uint64(a.Resume)))
	}
	return p
}

// readRecallResponse finds the answer about one partition. Where there is none the
// gateway has not said whether it has the records.
func readRecallResponse(resp *kmsg.FetchResponse, id metadata.PartitionID, gateway string) *replica.RecallAnswer {
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			p := &resp.Topics[i].Partitions[j]
			if resp.Topics[i].Topic != id.Stream || p.Partition != id.Partition {
				continue
			}
			a := &replica.RecallAnswer{Err: errorOf(p.ErrorCode, gateway, nil), Records: p.RecordBatches}
			p.UnknownTags.Each(func(key uint32, value []byte) {
				if key == resumeTag && len(value) == 8 {
					a.Resume = int64(binary.BigEndian.Uint64(value))
				}
			})
			return a
		}
	}
	return &replica.RecallAnswer{Err: fmt.Errorf("gateway %s did not answer about %s", gateway, id)}
}
