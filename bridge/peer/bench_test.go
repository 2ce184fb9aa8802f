package peer

import (
	"context"
	"fmt"
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore/replica"
)

const benchBatch = 16 << 10

// BenchmarkProduce sends 16 KiB batches over a secured loopback connection, one
// at a time and as many as a window of 64 lets through. Sender and leader
// share the machine and are both counted.
func BenchmarkProduce(b *testing.B) {
	for _, window := range []int{1, 64} {
		b.Run(fmt.Sprint("window=", window), func(b *testing.B) {
			near, far := secure(b, &service{produce: func(batches []*replica.Append) {
				for _, a := range batches {
					finish(a, 0, nil)
				}
			}})
			p := started(b, Config{Dial: near.Dial})
			free := make(chan *replica.Append, window)
			for i := range window {
				free <- &replica.Append{
					Partition: metadata.PartitionID{Stream: "s", Partition: int32(i % 8)},
					Batch:     make([]byte, benchBatch),
					Acks:      metadata.AcksAll,
					Done:      func(a *replica.Append) { free <- a },
				}
			}
			b.SetBytes(benchBatch)
			b.ReportAllocs()
			for b.Loop() {
				a := <-free
				if a.Err != nil {
					b.Fatal(a.Err)
				}
				p.Produce(far, []*replica.Append{a})
			}
			for range window {
				<-free
			}
		})
	}
}

// BenchmarkFetch gets one 16 KiB batch with each Fetch.
func BenchmarkFetch(b *testing.B) {
	records := make([]byte, benchBatch)
	near, far := secure(b, &service{fetch: func(_ context.Context, r *replica.FetchRequest) *replica.FetchAnswer {
		return &replica.FetchAnswer{Partitions: []replica.FetchedPartition{
			{Partition: r.Partitions[0].Partition, HighWatermark: 5, Drained: 3, Records: records},
		}}
	}})
	p := started(b, Config{Dial: near.Dial})
	r := &replica.FetchRequest{Node: 1, MaxBytes: 1 << 20, Partitions: []replica.FetchPartition{
		{Partition: metadata.PartitionID{Stream: "s"}, Offset: 5},
	}}
	b.SetBytes(benchBatch)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Fetch(context.Background(), far, r); err != nil {
			b.Fatal(err)
		}
	}
}
