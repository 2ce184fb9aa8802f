package forward

import (
	"context"
	"sync"
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
	"cistern/segstore/ingest"
	"cistern/segstore/replica"
)

// here leads every partition in the store of the same gateway.
type here struct{ store *segstore.Store }

func (l here) Deliver(batches []*replica.Append) {
	g := &segstore.Group{Entries: make([]segstore.Entry, len(batches))}
	list := append([]*replica.Append(nil), batches...)
	for i, a := range list {
		g.Entries[i] = segstore.Entry{Log: l.store.Log(a.Partition), Batch: a.Batch}
	}
	g.Done = func(g *segstore.Group) {
		for i, a := range list {
			a.BaseOffset, a.Err = g.Entries[i].BaseOffset, g.Entries[i].Err
			a.Done(a)
		}
	}
	l.store.Submit(g)
}

// publisher keeps 32 records under way.
type publisher struct{ window chan struct{} }

func (p *publisher) Complete(uint64, int64, error) bool { <-p.window; return false }
func (p *publisher) Flush()                             {}

func BenchmarkPublish(b *testing.B) {
	for _, name := range []string{"store", "forwarder"} {
		b.Run(name, func(b *testing.B) {
			store, err := segstore.Open(segstore.Config{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			c := metadata.DefaultStreamConfig("s")
			c.Partitions, c.CommitWindow, c.WhenFull = 16, 0, metadata.DropOldest
			if err := store.PutStream(c); err != nil {
				b.Fatal(err)
			}
			cfg := ingest.Config{Store: store}
			if name == "forwarder" {
				image := metadata.NewImage()
				image.Streams["s"] = &metadata.StreamState{Config: c, Partitions: make([]metadata.PartitionState, c.Partitions)}
				f, err := New(Config{Store: store, Leader: here{store}, Image: func() *metadata.Image { return image },
					Changed: func() (<-chan struct{}, func()) { return nil, func() {} }, MinInsync: func(metadata.PartitionID) int { return 1 }})
				if err != nil {
					b.Fatal(err)
				}
				ctx, cancel := context.WithCancel(b.Context())
				var wg sync.WaitGroup
				wg.Go(func() { _ = f.Run(ctx) })
				defer wg.Wait()
				defer cancel()
				cfg.Journal = f
			}
			acc := ingest.New(cfg)
			defer acc.Close()
			b.ReportAllocs()
			b.ResetTimer()
			publishAll(b, acc)
		})
	}
}

func publishAll(b *testing.B, acc *ingest.Accumulator) {
	const publishers = 128
	var wg sync.WaitGroup
	for i := range publishers {
		wg.Go(func() {
			p := &publisher{window: make(chan struct{}, 32)}
			r := batch.Record{Value: make([]byte, 128)}
			id := metadata.PartitionID{Stream: "s", Partition: int32(i % 16)}
			for range b.N/publishers + 1 {
				p.window <- struct{}{}
				if err := acc.Append(b.Context(), id, &r, p, 0); err != nil {
					b.Error(err)
					return
				}
			}
			for range cap(p.window) { // all answered
				p.window <- struct{}{}
			}
		})
	}
	wg.Wait()
}
