package batch

import (
	"context"
	"fmt"
	"hash/crc32"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cistern/gossip/metadata"
)

// What we build, franz-go's own decoder must read.
func TestKmsgReadsOurBatches(t *testing.T) {
	for seed := range uint64(100) {
		rng := newRand(seed)
		want := randomRecords(rng)
		p := Producer{ID: rng.Int64(), Epoch: int16(rng.Uint32()), Sequence: rng.Int32()}
		one := build(t, codecs[rng.IntN(len(codecs))], p, want)
		Stamp(one, 500, 3)
		for i := range want {
			want[i].Offset += 500
		}
		got, header := readByKmsg(t, one)
		mustEqual(t, got, want)

		h, _ := ParseHeader(one)
		ours := fmt.Sprint(h.BaseOffset, h.Length, h.LeaderEpoch, h.Magic, int32(h.CRC), h.Attributes, h.LastOffsetDelta,
			h.BaseTimestamp, h.MaxTimestamp, h.Producer.ID, h.Producer.Epoch, h.Producer.Sequence, h.Count)
		theirs := fmt.Sprint(header.FirstOffset, header.Length, header.PartitionLeaderEpoch, header.Magic, header.CRC, header.Attributes, header.LastOffsetDelta,
			header.FirstTimestamp, header.MaxTimestamp, header.ProducerID, header.ProducerEpoch, header.FirstSequence, header.NumRecords)
		if ours != theirs {
			t.Fatalf("seed %d: we read %s, kmsg reads %s", seed, ours, theirs)
		}
	}
}

func readByKmsg(t *testing.T, one []byte) (records []Record, b kmsg.RecordBatch) {
	t.Helper()
	if err := b.ReadFrom(one); err != nil {
		t.Fatal(err)
	}
	if crc := int32(crc32.Checksum(one[posAttributes:], castagnoli)); b.CRC != crc {
		t.Fatalf("CRC is %08x, want %08x", uint32(b.CRC), uint32(crc))
	}
	in := b.Records
	if codec := kgo.CompressionCodecType(b.Attributes & attrCodecMask); codec != kgo.CodecNone {
		var err error
		if in, err = kgo.DefaultDecompressor().Decompress(in, codec); err != nil {
			t.Fatal(err)
		}
	}
	for range b.NumRecords {
		var r kmsg.Record
		if err := r.ReadFrom(in); err != nil {
			t.Fatal(err)
		}
		in = in[len(r.AppendTo(nil)):]
		records = append(records, fromKmsg(&b, &r))
	}
	if len(in) > 0 {
		t.Fatalf("%d bytes follow the records", len(in))
	}
	return records, b
}

func fromKmsg(b *kmsg.RecordBatch, r *kmsg.Record) Record {
	out := Record{
		Offset:    b.FirstOffset + int64(r.OffsetDelta),
		Timestamp: b.FirstTimestamp + r.TimestampDelta64,
		Key:       r.Key,
		Value:     r.Value,
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, RecordHeader{Key: h.Key, Value: h.Value})
	}
	return out
}

// clientRecords are records that kgo can carry: it counts in nanoseconds, and
// stamps records that have no time.
func clientRecords(seed uint64) []Record {
	records := append(readings(200), randomRecords(newRand(seed))...)
	for i := range records {
		records[i].Offset = int64(i)
		records[i].Timestamp = min(max(records[i].Timestamp, 1), 1<<42)
	}
	return records
}

// upstream is a Kafka cluster in this process, with one topic.
func upstream(t *testing.T, topic string, opts ...kgo.Opt) (*kfake.Cluster, *kgo.Client, context.Context) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(cluster.ListenAddrs()...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return cluster, client, ctx
}

// What a Kafka client sends, byte for byte, we must read.
func TestWeReadBatchesOfAKafkaClient(t *testing.T) {
	compressions := map[metadata.Codec]kgo.CompressionCodec{
		metadata.CodecNone:   kgo.NoCompression(),
		metadata.CodecGzip:   kgo.GzipCompression(),
		metadata.CodecSnappy: kgo.SnappyCompression(),
		metadata.CodecLZ4:    kgo.Lz4Compression(),
		metadata.CodecZstd:   kgo.ZstdCompression(),
	}
	for codec, compression := range compressions {
		t.Run(codec.String(), func(t *testing.T) {
			cluster, client, ctx := upstream(t, "sensors",
				kgo.ProducerBatchCompression(compression), kgo.ProducerLinger(20*time.Millisecond))
			var sent []byte
			cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				for _, topic := range r.(*kmsg.ProduceRequest).Topics {
					for _, p := range topic.Partitions {
						sent = append(sent, p.Records...)
					}
				}
				return nil, nil, false
			})
			want := clientRecords(7)
			if err := client.ProduceSync(ctx, toKgo("sensors", want)...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			got, compressed := readRun(t, sent, codec)
			mustEqual(t, got, want)
			if codec != metadata.CodecNone && !compressed {
				t.Error("nothing was compressed: the test proves little")
			}
		})
	}
}

// readRun decodes the batches of a run, which their producer numbered from 0.
func readRun(t *testing.T, run []byte, codec metadata.Codec) (records []Record, compressed bool) {
	t.Helper()
	for len(run) > 0 {
		one, rest, err := Next(run)
		if err != nil {
			t.Fatal(err)
		}
		h, err := Verify(one)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.CheckProduced(); err != nil {
			t.Fatal(err)
		}
		compressed = compressed || h.Codec() == codec
		Stamp(one, int64(len(records)), 0)
		records = append(records, decode(t, one)...)
		run = rest
	}
	return records, compressed
}

// What we send, verbatim or rewritten, a cluster must take and serve.
func TestAKafkaClusterTakesOurBatches(t *testing.T) {
	_, client, ctx := upstream(t, "drained", kgo.ConsumeTopics("drained"), kgo.FetchMaxWait(100*time.Millisecond))
	var want []Record
	for i, codec := range codecs {
		records := clientRecords(uint64(i))
		one := build(t, codec, Producer{ID: 77, Epoch: 3, Sequence: 9}, records)
		Stamp(one, 4711, 12) // as stored on a gateway
		one, err := Rewrite{Producer: NoProducer, LeaderEpoch: -1}.Apply(nil, one)
		if err != nil {
			t.Fatal(err)
		}
		produce(t, ctx, client, "drained", one)
		want = append(want, records...)
	}
	var got []Record
	for len(got) < len(want) {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(got), len(want), err)
		}
		fetches.EachRecord(func(r *kgo.Record) { got = append(got, fromKgo(r)) })
	}
	for i := range want {
		want[i].Offset = int64(i)
	}
	mustEqual(t, got, want)
}

func produce(t *testing.T, ctx context.Context, client *kgo.Client, topic string, one []byte) {
	t.Helper()
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Records = one
	reqTopic := kmsg.NewProduceRequestTopic()
	reqTopic.Topic = topic
	reqTopic.TopicID = topicID(t, ctx, client, topic)
	reqTopic.Partitions = append(reqTopic.Partitions, partition)
	req.Topics = append(req.Topics, reqTopic)
	resp, err := req.RequestWith(ctx, client.Broker(0))
	if err != nil {
		t.Fatal(err)
	}
	if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 {
		t.Fatalf("the cluster refused the batch: error code %d", p.ErrorCode)
	}
}

func topicID(t *testing.T, ctx context.Context, client *kgo.Client, topic string) [16]byte {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	reqTopic := kmsg.NewMetadataRequestTopic()
	reqTopic.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, reqTopic)
	resp, err := req.RequestWith(ctx, client)
	if err != nil || len(resp.Topics) != 1 {
		t.Fatalf("metadata: %v", err)
	}
	return resp.Topics[0].TopicID
}

func toKgo(topic string, records []Record) (out []*kgo.Record) {
	for _, r := range records {
		k := &kgo.Record{Topic: topic, Timestamp: time.UnixMilli(r.Timestamp), Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			k.Headers = append(k.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		out = append(out, k)
	}
	return out
}

func fromKgo(k *kgo.Record) Record {
	r := Record{Offset: k.Offset, Timestamp: k.Timestamp.UnixMilli(), Key: k.Key, Value: k.Value}
	for _, h := range k.Headers {
		r.Headers = append(r.Headers, RecordHeader{Key: h.Key, Value: h.Value})
	}
	return r
}
