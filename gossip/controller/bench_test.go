package controller

import (
	"fmt"
	"testing"
	"time"

	"cistern/gossip/metadata"
)

// BenchmarkDecide is one call on the largest site there may be, at rest.
func BenchmarkDecide(b *testing.B) {
	img := metadata.NewImage()
	apply := func(c metadata.Change) {
		var r metadata.Result
		if img, r = Apply(img, img.Index+1, c); r.Error != "" {
			b.Fatal(r.Err())
		}
	}
	for i := range metadata.MembersMax {
		apply(metadata.Change{Register: &metadata.Register{Name: fmt.Sprint("gw-", i), Address: "x", StoreID: "y"}})
	}
	for i := range PartitionsMax / metadata.PartitionsMax {
		c := metadata.DefaultStreamConfig(fmt.Sprint("s", i))
		c.Partitions = metadata.PartitionsMax
		apply(metadata.Change{PutStream: &metadata.PutStream{Config: c}})
	}
	var live []Liveness
	for _, m := range img.Members {
		live = append(live, Liveness{Name: m.Name, Alive: true, For: time.Hour})
	}
	for due := Decide(time.UnixMilli(0), img, live, DefaultPolicy()); len(due) > 0; due = Decide(time.UnixMilli(0), img, live, DefaultPolicy()) {
		for _, c := range due {
			apply(c) // leaderships that came out uneven
		}
	}
	for b.Loop() {
		if due := Decide(time.UnixMilli(0), img, live, DefaultPolicy()); len(due) > 0 {
			b.Fatalf("not at rest: %d", len(due))
		}
	}
}

// BenchmarkAlterPartition is the most frequent change on that site.
func BenchmarkAlterPartition(b *testing.B) {
	img := metadata.NewImage()
	for i := range 3 {
		img, _ = Apply(img, img.Index+1, metadata.Change{Register: &metadata.Register{Name: fmt.Sprint("gw-", i), Address: "x", StoreID: "y"}})
	}
	c := metadata.DefaultStreamConfig("s")
	c.Partitions = 256
	img, _ = Apply(img, img.Index+1, metadata.Change{PutStream: &metadata.PutStream{Config: c}})
	p := img.Partition(s0)
	for i := 0; b.Loop(); i++ {
		isr := p.Replicas[:1+i%2]
		a := &metadata.AlterPartition{Partition: s0, Leader: p.Leader, PartitionEpoch: p.PartitionEpoch, ISR: isr, Incarnations: []uint64{1, 1}[:len(isr)]}
		var r metadata.Result
		if img, r = Apply(img, img.Index+1, metadata.Change{AlterPartition: a}); r.Error != "" {
			b.Fatal(r.Err())
		}
		p = img.Partition(s0)
	}
}
