package shape

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cistern/segstore/batch"
)

// wire is what it takes to send pieces one by one, as the drain does: request and
// answer, without TCP's and TLS's own headers.
func wire(t testing.TB, all []Piece) (bytes int) {
	t.Helper()
	const version = 10
	for _, p := range all {
		b, err := batch.Rewrite{LeaderEpoch: -1, Producer: batch.Producer{ID: 4711}}.Apply(nil, p.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		partition := kmsg.NewProduceRequestTopicPartition()
		partition.Partition, partition.Records = 3, b
		topic := kmsg.NewProduceRequestTopic()
		topic.Topic, topic.Partitions = "plant-7.telemetry", append(topic.Partitions, partition)
		req := kmsg.NewPtrProduceRequest()
		req.Version, req.Acks, req.TimeoutMillis, req.Topics = version, -1, 30_000, append(req.Topics, topic)
		bytes += len(kmsg.NewRequestFormatter(kmsg.FormatterClientID("cistern-gateway-1")).AppendRequest(nil, req, 1))

		answered := kmsg.NewProduceResponseTopic()
		answered.Topic, answered.Partitions = topic.Topic, append(answered.Partitions, kmsg.NewProduceResponseTopicPartition())
		resp := kmsg.NewPtrProduceResponse()
		resp.Version, resp.Topics = version, append(resp.Topics, answered)
		const lengthAndCorrelation = 4 + 4 + 1
		bytes += lengthAndCorrelation + len(resp.AppendTo(nil))
	}
	return bytes
}

// ways are the ways to send a backlog; nil is verbatim.
var ways = []struct {
	name    string
	rebatch *Rebatch
}{
	{"verbatim", nil},
	{"default", &Rebatch{Level: 3}},
	{"better", &Rebatch{Level: 6}},
	{"best", &Rebatch{Level: batch.LevelBest}},
}

// TestWireBytes prints what merging saves on a metered link, for batches as small
// as commits were. Payload is what a device published: topic and message.
func TestWireBytes(t *testing.T) {
	const total = 4000
	table := fmt.Sprintf("%-20s", "records per commit")
	for _, w := range ways {
		table += fmt.Sprintf("%10s", w.name)
	}
	for _, size := range []int{1, 5, 10, 50, 500} {
		run, records := runOf(t, total/size, size)
		payload := 0
		for _, r := range records {
			payload += len(r.Key) + len(r.Value)
		}
		table += fmt.Sprintf("\n%-20d", size)
		var verbatim int
		for _, w := range ways {
			all := pieces(t, New(config(w.rebatch)), run, Options{})
			bytes := wire(t, all)
			table += fmt.Sprintf("%10.3f", float64(bytes)/float64(payload))
			if w.rebatch == nil {
				verbatim = bytes
			} else if gain := float64(verbatim) / float64(bytes); size <= 10 && gain < 1.5 || gain < 0.95 {
				t.Errorf("%d records in a batch: merged by %s they take %d bytes, verbatim %d", size, w.name, bytes, verbatim)
			}
		}
	}
	t.Logf("bytes on the wire for each byte of payload (%d records, merged into batches of at most %d KiB)\n%s",
		total, BytesDefault>>10, strings.TrimRight(table, "\n"))
}

// BenchmarkMerge is the CPU of it, for a backlog of batches of 10 records.
func BenchmarkMerge(b *testing.B) {
	run, records := runOf(b, 200, 10)
	for _, way := range append(ways, struct {
		name    string
		rebatch *Rebatch
	}{"fastest", &Rebatch{Level: 1}}) {
		b.Run("level="+way.name, func(b *testing.B) { benchmark(b, New(config(way.rebatch)), run, len(records), Options{}) })
	}
	b.Run("identified", func(b *testing.B) {
		benchmark(b, New(config(nil)), run, len(records), Options{Partition: "north/telemetry/3", Identified: true})
	})
}

func benchmark(b *testing.B, s *Shaper, run []byte, records int, o Options) {
	scratch := make([]byte, 0, BytesDefault)
	b.SetBytes(int64(len(run)))
	b.ReportAllocs()
	pieces := 0
	for b.Loop() {
		for rest := run; len(rest) > 0; pieces++ {
			p, err := s.Next(rest, scratch, o)
			if err != nil {
				b.Fatal(err)
			}
			rest = rest[p.Used:]
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*records), "ns/record")
	b.ReportMetric(float64(pieces)/float64(b.N), "pieces")
}
