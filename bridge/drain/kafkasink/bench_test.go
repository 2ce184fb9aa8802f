package kafkasink

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// BenchmarkDrain compares sending stored batches as they are with what a
// full client has to do: decode, encode and compress again. Both talk to the
// same stub of a broker, whose own work is in both numbers. CPU is that of the
// process, per KiB of stored batches.
func BenchmarkDrain(b *testing.B) {
	for _, records := range []int{10, 100, 1000} {
		log := newLog("bench", 0)
		for range 64 {
			log.readings(b, records)
		}
		b.Run(fmt.Sprintf("verbatim/records=%d", records), func(b *testing.B) { benchVerbatim(b, log) })
		b.Run(fmt.Sprintf("reencode/records=%d", records), func(b *testing.B) { benchReencode(b, log) })
	}
}

// readings appends a batch of what sensors say: JSON of about 200 bytes.
func (l *memLog) readings(b *testing.B, count int) {
	builder := batch.NewBuilder(metadata.CodecZstd)
	for i := range count {
		r := batch.Record{Timestamp: 1700000000000 + rand.Int64N(1000), Key: fmt.Appendf(nil, "plant/line%d/sensor%d", rand.IntN(5), rand.IntN(40)),
			Value: fmt.Appendf(nil, `{"serial":"%016x","temperature":%.3f,"pressure":%.2f,"rpm":%d,"vibration":[%.4f,%.4f,%.4f],"state":"running","seq":%d,"uptime_seconds":%d}`,
				rand.Uint64(), 20+rand.Float64()*60, 900+rand.Float64()*200, rand.IntN(3000), rand.Float64(), rand.Float64(), rand.Float64(), i, rand.IntN(1e7))}
		if _, err := builder.Append(&r); err != nil {
			b.Fatal(err)
		}
	}
	one, err := builder.AppendTo(nil, batch.NoProducer)
	if err != nil {
		b.Fatal(err)
	}
	batch.Stamp(one, l.end, 0)
	l.batches = append(l.batches, one)
	l.end += int64(count)
}

// report turns the CPU time of b.N rounds over the log into metrics.
func report(b *testing.B, log *memLog, cpu time.Duration) {
	stored := 0
	for _, one := range log.batches {
		stored += len(one)
	}
	kib := float64(stored) * float64(b.N) / 1024
	b.ReportMetric(float64(cpu.Microseconds())/kib, "cpu-us/KiB")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(log.end)/float64(b.N), "cpu-ns/record")
	b.ReportMetric(0, "ns/op")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// repeated is a log that holds another one's batches several times over.
func repeated(log *memLog, times int) *memLog {
	all := newLog(log.id.Stream, log.id.Partition)
	for range times {
		for _, one := range log.batches {
			h, _ := batch.ParseHeader(one)
			copied := append([]byte(nil), one...)
			batch.Stamp(copied, all.end, 0)
			all.batches = append(all.batches, copied)
			all.end += int64(h.Count)
		}
	}
	return all
}

func benchVerbatim(b *testing.B, log *memLog) {
	stub := newStub(b)
	all := indexed{repeated(log, b.N)}
	c := &central{t: b, seeds: []string{stub.addr}}
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	g := c.gatewayOf(setup{}, all)
	g.drained(all.memLog)
	cpu := cpuTime() - before
	b.StopTimer()
	g.stop()
	report(b, log, cpu)
}

func benchReencode(b *testing.B, log *memLog) {
	stub := newStub(b)
	client, err := kgo.NewClient(kgo.SeedBrokers(stub.addr), kgo.ProducerBatchCompression(kgo.ZstdCompression()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	var failed error
	var once sync.Once
	for range b.N {
		for _, one := range log.batches {
			for r, err := range batch.Records(append([]byte(nil), one...), 10<<20) {
				if err != nil {
					b.Fatal(err)
				}
				client.Produce(context.Background(), &kgo.Record{Topic: "bench", Key: r.Key, Value: r.Value, Timestamp: time.UnixMilli(r.Timestamp)},
					func(_ *kgo.Record, err error) {
						if err != nil {
							once.Do(func() { failed = err })
						}
					})
			}
		}
	}
	if err := client.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	cpu := cpuTime() - before
	b.StopTimer()
	if failed != nil {
		b.Fatal(failed)
	}
	report(b, log, cpu)
}

// indexed reads a long memLog without walking it.
type indexed struct{ *memLog }

func (l indexed) Read(offset int64, buf []byte, sizeMax int) ([]byte, error) {
	perBatch := l.end / int64(len(l.batches))
	taken := 0
	for _, one := range l.batches[offset/perBatch:] {
		if taken > 0 && taken+len(one) > sizeMax {
			break
		}
		buf = append(buf, one...)
		taken += len(one)
	}
	return buf, nil
}

// stub is a broker that throws away what it gets, and says thanks.
type stub struct {
	addr string
	host string
	port int32
}

func newStub(b *testing.B) *stub {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	host, port, _ := net.SplitHostPort(l.Addr().String())
	n, _ := strconv.Atoi(port)
	s := &stub{l.Addr().String(), host, int32(n)}
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(nc)
		}
	}()
	return s
}

func (s *stub) serve(nc net.Conn) {
	defer nc.Close()
	var buf []byte
	next := int64(0)
	for {
		var size [4]byte
		if _, err := io.ReadFull(nc, size[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(size[:]))
		if cap(buf) < n {
			buf = make([]byte, n)
		}
		if _, err := io.ReadFull(nc, buf[:n]); err != nil {
			return
		}
		key, version := int16(binary.BigEndian.Uint16(buf)), int16(binary.BigEndian.Uint16(buf[2:]))
		id := buf[4:8]
		req := kmsg.RequestForKey(key)
		req.SetVersion(version)
		body := buf[10+int16(binary.BigEndian.Uint16(buf[8:])) : n]
		if req.IsFlexible() {
			body = body[1:]
		}
		if err := req.ReadFrom(body); err != nil {
			return
		}
		resp := s.answer(req, &next)
		out := append(make([]byte, 4, 256), id...)
		if resp.IsFlexible() && key != 18 {
			out = append(out, 0)
		}
		out = resp.AppendTo(out)
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := nc.Write(out); err != nil {
			return
		}
	}
}

func (s *stub) answer(req kmsg.Request, next *int64) kmsg.Response {
	resp := req.ResponseKind()
	switch resp := resp.(type) {
	case *kmsg.ApiVersionsResponse:
		for key, most := range map[int16]int16{0: 9, 1: 12, 2: 6, 3: 9, 18: 3, 22: 4, 32: 4, 61: 0} {
			resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: key, MaxVersion: most})
		}
	case *kmsg.MetadataResponse:
		resp.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: s.host, Port: s.port}}
		resp.ClusterID, resp.ControllerID = kmsg.StringPtr("stub"), 1
		for _, t := range req.(*kmsg.MetadataRequest).Topics {
			resp.Topics = append(resp.Topics, kmsg.MetadataResponseTopic{Topic: t.Topic,
				Partitions: []kmsg.MetadataResponseTopicPartition{{Leader: 1, Replicas: []int32{1}, ISR: []int32{1}}}})
		}
	case *kmsg.InitProducerIDResponse:
		resp.ProducerID = 1
	case *kmsg.ListOffsetsResponse:
		resp.Topics = []kmsg.ListOffsetsResponseTopic{{Topic: "bench", Partitions: []kmsg.ListOffsetsResponseTopicPartition{{}}}}
	case *kmsg.DescribeConfigsResponse:
		resp.Resources = []kmsg.DescribeConfigsResponseResource{{ResourceName: "bench"}}
	case *kmsg.ProduceResponse:
		h, _ := batch.ParseHeader(req.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records)
		resp.Topics = []kmsg.ProduceResponseTopic{{Topic: "bench", Partitions: []kmsg.ProduceResponseTopicPartition{{BaseOffset: *next}}}}
		*next += int64(h.Count)
	}
	return resp
}
