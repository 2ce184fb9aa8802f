package shape

import (
	"bytes"
	"context"
	"hash/crc32"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cistern/segstore/batch"
)

// A cluster takes what was merged, and a consumer of another make reads what
// devices sent.
func TestAKafkaClusterTakesPieces(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "drained"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("drained"), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	run, want := runOf(t, 120, 7)
	all := pieces(t, New(config(&Rebatch{Bytes: 20_000})), run, Options{})
	if len(all) < 5 {
		t.Fatalf("only %d pieces", len(all))
	}
	for i, p := range all {
		readByKmsg(t, p.Bytes, int(p.Header.Count))
		one, err := batch.Rewrite{LeaderEpoch: -1, Producer: batch.NoProducer}.Apply(nil, p.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if code := produce(t, ctx, client, one); code != 0 {
			t.Fatalf("piece %d: error code %d", i, code)
		}
	}
	var got []batch.Record
	for len(got) < len(want) {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(got), len(want), err)
		}
		fetches.EachRecord(func(k *kgo.Record) {
			r := batch.Record{Offset: k.Offset, Timestamp: k.Timestamp.UnixMilli(), Key: k.Key, Value: k.Value}
			for _, h := range k.Headers {
				r.Headers = append(r.Headers, batch.RecordHeader{Key: h.Key, Value: h.Value})
			}
			got = append(got, r)
		})
	}
	mustEqual(t, got, want)
}

// readByKmsg checks a batch with a decoder of another make, to the last byte.
func readByKmsg(t *testing.T, one []byte, count int) {
	t.Helper()
	var b kmsg.RecordBatch
	if err := b.ReadFrom(one); err != nil {
		t.Fatal(err)
	}
	if crc := crc32.Checksum(one[21:], crc32.MakeTable(crc32.Castagnoli)); uint32(b.CRC) != crc || int(b.NumRecords) != count {
		t.Fatalf("%d records with CRC %08x, want %d with %08x", b.NumRecords, b.CRC, count, crc)
	}
	in := bytes.Clone(b.Records)
	if codec := kgo.CompressionCodecType(b.Attributes & 7); codec != kgo.CodecNone {
		var err error
		if in, err = kgo.DefaultDecompressor().Decompress(in, codec); err != nil {
			t.Fatal(err)
		}
	}
	latest := b.FirstTimestamp
	for i := range b.NumRecords {
		var r kmsg.Record
		if err := r.ReadFrom(in); err != nil || r.OffsetDelta != i {
			t.Fatalf("record %d has offset delta %d, %v", i, r.OffsetDelta, err)
		}
		latest = max(latest, b.FirstTimestamp+r.TimestampDelta64)
		in = in[len(r.AppendTo(nil)):]
	}
	if len(in) > 0 || latest != b.MaxTimestamp {
		t.Fatalf("%d bytes left, the latest record is of %d, the batch of %d", len(in), latest, b.MaxTimestamp)
	}
}

func produce(t *testing.T, ctx context.Context, client *kgo.Client, one []byte) int16 {
	t.Helper()
	meta := kmsg.NewPtrMetadataRequest()
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = kmsg.StringPtr("drained")
	meta.Topics = append(meta.Topics, asked)
	told, err := meta.RequestWith(ctx, client)
	if err != nil || len(told.Topics) != 1 {
		t.Fatalf("metadata: %v", err)
	}
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Records = one
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.TopicID = "drained", told.Topics[0].TopicID
	topic.Partitions = append(topic.Partitions, partition)
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, client.Broker(0))
	if err != nil {
		t.Fatal(err)
	}
	return resp.Topics[0].Partitions[0].ErrorCode
}
