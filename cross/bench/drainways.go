package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cistern/bridge/drain"
	"cistern/bridge/drain/kafkasink"
	"cistern/bridge/drain/pace"
	"cistern/bridge/drain/shape"
	"cistern/bridge/kafka"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// DrainCell is one way to send one log to one broker.
type DrainCell struct {
	Way     string // a key of ways
	Broker  string
	Records int // in each stored batch
	Codec   metadata.Codec
	Bytes   int64         // of stored batches, about
	For     time.Duration // ways that do not end by themselves
}

// Drained is what it took.
type Drained struct {
	CPU, Took                time.Duration
	Stored, Records, Batches int64
	Payload                  int64 // bytes of values
}

// ways to send a log. Each uses up to five unanswered requests.
var ways = map[string]func(DrainCell, *repeating) error{
	"read and send":     readAndSend,
	"verbatim":          drainVerbatim,
	"decoded, franz-go": decodeAndProduce,
	"merged":            drainMerged,

	"strict, with fresh records":     withFresh(drain.OrderStrict),
	"live first, with fresh records": withFresh(drain.OrderLiveFirst),
}

// measureDrain is done in a process of its own, so that its CPU is the sender's
// alone: the broker is another's.
func measureDrain(c DrainCell) (d Drained, err error) {
	l, err := newRepeating(c.Records, c.Codec, c.Bytes)
	if err != nil {
		return d, err
	}
	way, ok := ways[c.Way]
	if !ok {
		return d, fmt.Errorf("no way %q", c.Way)
	}
	for i := range l.repeatEnd / l.each {
		d.Stored += int64(len(l.batches[i%int64(len(l.batches))]))
	}
	d.Records, d.Batches = l.repeatEnd, l.repeatEnd/l.each
	d.Payload = l.payload * d.Batches / int64(len(l.batches))
	begin, cpu := time.Now(), cpuTime()
	err = way(c, l)
	d.CPU, d.Took = cpuTime()-cpu, time.Since(begin)
	return d, err
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// readAndSend is the floor under every drain of single batches: the log is read
// as the drain reads it, each batch is a request that is written in one go, and
// each answer is read.
func readAndSend(c DrainCell, l *repeating) error {
	nc, err := net.Dial("tcp", c.Broker)
	if err != nil {
		return err
	}
	defer nc.Close()
	flying, failed := make(chan struct{}, drain.InFlightMax), make(chan error, 1)
	go func() {
		answer := make([]byte, 4<<10)
		for range flying {
			if _, err := io.ReadFull(nc, answer[:4]); err != nil {
				failed <- err
				return
			}
			if _, err := io.ReadFull(nc, answer[:binary.BigEndian.Uint32(answer)]); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	var buf, out []byte
	for next := int64(0); next < l.repeatEnd; {
		if buf, err = l.Read(next, buf[:0], drain.ChunkBytes); err != nil {
			return err
		}
		for rest := buf; len(rest) > 0; {
			var b []byte
			if b, rest, err = batch.Next(rest); err != nil {
				return err
			}
			out = produceRequest(out[:0], b)
			select {
			case flying <- struct{}{}:
			case err := <-failed:
				return err
			}
			if _, err := nc.Write(out); err != nil {
				return err
			}
			next += l.each
		}
	}
	close(flying)
	return <-failed
}

// produceRequest appends a whole request of version 8 with one batch. Bytes
// before the batch are always the same but for three lengths.
func produceRequest(out, b []byte) []byte {
	const version = 8
	begin := len(out)
	out = binary.BigEndian.AppendUint32(out, 0)
	out = binary.BigEndian.AppendUint16(out, uint16(kmsg.Produce))
	out = binary.BigEndian.AppendUint16(out, version)
	out = append(out, 0, 0, 0, 1, 0, 0)             // correlation, no client id
	out = append(out, 0xff, 0xff, 0xff, 0xff, 0, 0) // no transaction, acks all, timeout in two parts
	out = append(out, 0x75, 0x30, 0, 0, 0, 1)       // 30 s, one topic
	out = binary.BigEndian.AppendUint16(out, uint16(len(benchStream)))
	out = append(out, benchStream...)
	out = append(out, 0, 0, 0, 1, 0, 0, 0, 0) // one partition, 0
	out = binary.BigEndian.AppendUint32(out, uint32(len(b)))
	out = append(out, b...)
	binary.BigEndian.PutUint32(out[begin:], uint32(len(out)-begin-4))
	return out
}

// drainVerbatim is ours, as the agent runs it.
func drainVerbatim(c DrainCell, l *repeating) error {
	return drainWith(c, l, drain.Config{Gate: pace.New(pace.Config{}), Shaper: shape.New(shape.Config{})}, nil)
}

// drainMerged merges small batches with the agent's defaults for that.
func drainMerged(c DrainCell, l *repeating) error {
	merge := &shape.Rebatch{Linger: time.Millisecond} // nothing comes later
	return drainWith(c, l, drain.Config{Gate: pace.New(pace.Config{}), Shaper: shape.New(shape.Config{Rebatch: merge})}, nil)
}

// drainWith drains all that the log holds at its start. also, when not nil, runs
// meanwhile, and the drain goes on until it ends.
func drainWith(c DrainCell, l *repeating, cfg drain.Config, also func() error) error {
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	sink, err := kafkasink.New(kafkasink.Config{Client: kafka.Config{Brokers: []string{c.Broker}, ClientID: "bench"}, Logger: logger})
	if err != nil {
		return err
	}
	done, end := make(chan struct{}), l.HighWatermark()
	var once sync.Once
	cfg.Sink, cfg.State, cfg.Quarantine, cfg.Logger = sink, forgetfulState{}, refusing{}, logger
	cfg.OnCursor = func(_ metadata.PartitionID, offset int64) {
		if offset >= end {
			once.Do(func() { close(done) })
		}
	}
	d, err := drain.New(cfg)
	if err != nil {
		return err
	}
	if err := d.Add(l, drain.Term{}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = d.Run(ctx) })
	if also != nil {
		err = also()
	} else {
		<-done
	}
	cancel()
	running.Wait()
	return err
}

// forgetfulState remembers nothing: a measured drain is not restarted.
type forgetfulState struct{}

func (forgetfulState) Get(string) []byte            { return nil }
func (forgetfulState) Put(string, []byte)           {}
func (forgetfulState) PutSync(string, []byte) error { return nil }

type refusing struct{}

func (refusing) Add(p drain.Poison) error { return errors.New("quarantined: " + p.Detail) }

// decodeAndProduce is what a drain without verbatim batches does: it decodes
// every record and hands it to a full client, which builds and compresses
// batches of its own, as large as they get.
func decodeAndProduce(c DrainCell, l *repeating) error {
	codec := kgo.ZstdCompression()
	if c.Codec == metadata.CodecNone {
		codec = kgo.NoCompression()
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Broker), kgo.ProducerBatchCompression(codec),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	if err != nil {
		return err
	}
	defer client.Close()
	var failed error
	var once sync.Once
	var buf []byte
	for next := int64(0); next < l.repeatEnd; {
		if buf, err = l.Read(next, buf[:0], drain.ChunkBytes); err != nil {
			return err
		}
		for rest := buf; len(rest) > 0; next += l.each {
			var b []byte
			if b, rest, err = batch.Next(rest); err != nil {
				return err
			}
			// A record lives until it is acknowledged, longer than buf.
			for r, err := range batch.Records(append([]byte(nil), b...), 10<<20) {
				if err != nil {
					return err
				}
				client.Produce(context.Background(), &kgo.Record{Topic: benchStream, Key: r.Key, Value: r.Value, Timestamp: time.UnixMilli(r.Timestamp)},
					func(_ *kgo.Record, err error) {
						if err != nil {
							once.Do(func() { failed = err })
						}
					})
			}
		}
	}
	return errors.Join(client.Flush(context.Background()), failed)
}
