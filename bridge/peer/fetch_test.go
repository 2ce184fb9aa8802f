package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/replica"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestFetch: everything that replication asks and answers arrives as it was.
func TestFetch(t *testing.T) {
	s0, s1, r0 := metadata.PartitionID{Stream: "s"}, metadata.PartitionID{Stream: "s", Partition: 1}, metadata.PartitionID{Stream: "r"}
	request := &replica.FetchRequest{Node: 3, Incarnation: 1<<63 + 5, MaxWait: 250 * time.Millisecond, MaxBytes: 12345,
		Partitions: []replica.FetchPartition{
			{Partition: s0, LeaderEpoch: 7, Offset: 1 << 40, LastEpoch: 6, HighWatermark: 1<<40 - 3, Drained: 1 << 38},
			{Partition: r0, LastEpoch: -1},
			{Partition: s1, LeaderEpoch: 1, Offset: 2, LastEpoch: 3}}}
	want := &replica.FetchAnswer{Partitions: []replica.FetchedPartition{
		{Partition: s0, LeaderEpoch: 7, HighWatermark: 1<<40 + 3, LogStart: 9, Drained: 1 << 39, Records: []byte("records")},
		{Partition: r0, LeaderEpoch: 0, HighWatermark: 5, Diverging: &replica.Divergence{Epoch: -1, EndOffset: 0}},
		{Partition: s1, LeaderEpoch: -1, Drained: -1, Diverging: &replica.Divergence{Epoch: 4, EndOffset: 1 << 41}},
	}}
	near, far := secure(t, &service{fetch: func(_ context.Context, r *replica.FetchRequest) *replica.FetchAnswer {
		if !reflect.DeepEqual(r, request) {
			t.Errorf("asked for %+v\nwant %+v", r, request)
		}
		return want
	}})
	p := started(t, Config{Dial: near.Dial})
	for range 2 {
		got, err := p.Fetch(context.Background(), far, request)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("answer %+v, %v\nwant %+v", got, err, want)
		}
	}
}

// TestLongPoll: a Fetch that waits holds up neither batches nor another Fetch,
// and its end is known to the leader.
func TestLongPoll(t *testing.T) {
	waiting, ended := make(chan struct{}), make(chan struct{})
	near, far := secure(t, &service{
		produce: confirm,
		fetch: func(ctx context.Context, r *replica.FetchRequest) *replica.FetchAnswer {
			if r.MaxBytes == 1 {
				return &replica.FetchAnswer{}
			}
			close(waiting)
			<-ctx.Done()
			close(ended)
			return nil
		},
	})
	p := started(t, Config{Dial: near.Dial, OnReset: func(_ metadata.Member, err error) { t.Errorf("reset: %v", err) }})
	ctx, cancel := context.WithCancel(context.Background())
	fetched := make(chan error)
	go func() {
		_, err := p.Fetch(ctx, far, &replica.FetchRequest{MaxWait: FetchWaitMax})
		fetched <- err
	}()
	<-waiting
	o := newTold(t)
	p.Produce(far, []*replica.Append{o.batch("s", 0, metadata.AcksAll, 1)})
	if a := o.next(1)[0]; a.Err != nil {
		t.Errorf("produce beside a long poll: %v", a.Err)
	}
	if _, err := p.Fetch(context.Background(), far, &replica.FetchRequest{MaxBytes: 1}); err != nil {
		t.Errorf("fetch beside a long poll: %v", err)
	}
	cancel()
	if err := <-fetched; !errors.Is(err, context.Canceled) || !errors.Is(err, replica.ErrUnreachable) {
		t.Errorf("the cancelled fetch: %v", err)
	}
	<-ended
}

// TestFetchReset: a leader that dies in the middle is reported, and the same
// Fetch reaches its next life.
func TestFetchReset(t *testing.T) {
	waiting := make(chan struct{})
	to, stop := plain(t, &Server{Service: &service{fetch: func(ctx context.Context, _ *replica.FetchRequest) *replica.FetchAnswer {
		close(waiting)
		<-ctx.Done()
		return nil
	}}}, 1)
	var resets atomic.Int32
	p := started(t, Config{OnReset: func(metadata.Member, error) { resets.Add(1) }})
	go func() { <-waiting; stop() }()
	r := &replica.FetchRequest{MaxWait: FetchWaitMax}
	if _, err := p.Fetch(context.Background(), to, r); !errors.Is(err, replica.ErrUnreachable) || resets.Load() != 1 {
		t.Errorf("%d resets, error %v", resets.Load(), err)
	}
	again, _ := plain(t, &Server{Service: &service{fetch: func(context.Context, *replica.FetchRequest) *replica.FetchAnswer {
		return &replica.FetchAnswer{}
	}}}, 1)
	if _, err := p.Fetch(context.Background(), again, r); err != nil { // another address
		t.Errorf("after the restart: %v", err)
	}
}

func TestFetchTooMany(t *testing.T) {
	p := started(t, Config{})
	_, err := p.Fetch(context.Background(), metadata.Member{}, &replica.FetchRequest{Partitions: make([]replica.FetchPartition, PartitionsMax+1)})
	if err == nil || errors.Is(err, replica.ErrUnreachable) {
		t.Errorf("error %v", err)
	}
}

// FuzzFetchAnswer: whatever a leader answers does no harm.
func FuzzFetchAnswer(f *testing.F) {
	resp := fetchResponse(&replica.FetchAnswer{Partitions: []replica.FetchedPartition{{Drained: 5, Records: []byte("r"), Diverging: &replica.Divergence{}}}})
	resp.Version = 12
	f.Add(resp.AppendTo(nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		near, far := net.Pipe()
		go answerWith(far, body)
		p := started(t, Config{Dial: func(context.Context, string, string) (net.Conn, error) { return near, nil }})
		p.Fetch(context.Background(), metadata.Member{}, &replica.FetchRequest{})
	})
}

// answerWith plays a leader that says which versions it knows, and then body.
func answerWith(nc net.Conn, body []byte) {
	defer nc.Close()
	versions := &kmsg.ApiVersionsResponse{Version: 3}
	for key := range speaks {
		versions.ApiKeys = append(versions.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: int16(key), MaxVersion: 20})
	}
	for _, answer := range [][]byte{versions.AppendTo(nil), append([]byte{0}, body...)} {
		var head [12]byte // of the request: size, key, version, correlation id
		if _, err := io.ReadFull(nc, head[:]); err != nil {
			return
		}
		io.CopyN(io.Discard, nc, int64(binary.BigEndian.Uint32(head[:]))-8)
		out := binary.BigEndian.AppendUint32(nil, uint32(4+len(answer)))
		nc.Write(append(append(out, head[8:]...), answer...))
	}
}

// FuzzRequests: whatever a gateway asks can be served and answered.
func FuzzRequests(f *testing.F) {
	req := fetchRequest(&replica.FetchRequest{Partitions: []replica.FetchPartition{{}}})
	req.Version = 12
	f.Add(req.AppendTo(nil))
	f.Add((&kmsg.ProduceRequest{Version: 9, Acks: -1, Topics: []kmsg.ProduceRequestTopic{{Topic: "s", Partitions: []kmsg.ProduceRequestTopicPartition{{Records: []byte("r")}}}}}).AppendTo(nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		fetch := &kmsg.FetchRequest{Version: 12}
		if checkFetch(12, body) == nil && fetch.ReadFrom(body) == nil {
			if r := readFetchRequest(fetch); r.MaxWait < 0 || r.MaxWait > FetchWaitMax || r.MaxBytes < 0 || r.MaxBytes > FetchBytesMax || len(r.Partitions) > 2*PartitionsMax {
				t.Errorf("a request beyond the limits: %+v", r)
			}
		}
		produce := &kmsg.ProduceRequest{Version: 9}
		if checkProduce(9, body) == nil && produce.ReadFrom(body) == nil {
			answers := 0
			ticket, batches := newTicket(produce, func(kmsg.Response) { answers++ })
			for _, a := range batches {
				finish(a, 0, nil)
			}
			if ticket.answer(); answers != 1 {
				t.Errorf("%d answers", answers)
			}
		}
	})
}
