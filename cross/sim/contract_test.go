package sim

import (
	"testing"

	"cistern/gossip/controller"
	"cistern/gossip/metadata"
)

// A leader whose request got no answer sends it again, and takes one refusal
// for the end of all copies: it no longer counts whom it asked for. So what was
// refused once must stay refused, whatever happens to the gateways it names.
// Here the one to be added is fenced when the second copy arrives, and back
// when the first does.
func TestWhatWasRefusedStaysRefused(t *testing.T) {
	img := metadata.NewImage()
	do := func(c metadata.Change) (r metadata.Result) {
		img, r = controller.Apply(img, img.Index+1, c)
		return r
	}
	hello := func(name string) metadata.Result {
		return do(metadata.Change{Register: &metadata.Register{Name: name, Address: name + ":1", StoreID: name, StoreIncarnation: 1}})
	}
	for _, name := range []string{"A", "B", "C"} {
		hello(name)
	}
	c := metadata.DefaultStreamConfig(stream)
	c.Replicas = 3
	do(metadata.Change{PutStream: &metadata.PutStream{Config: c}})
	p := img.Partition(partition)
	leader, other := p.Replicas[0], p.Replicas[2]
	do(metadata.Change{Fence: &metadata.Fence{Node: other, Incarnation: 1}})
	hello(img.Members[other].Name)

	p = img.Partition(partition)
	request := metadata.AlterPartition{Partition: partition, Leader: leader, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch,
		ISR: append(append([]metadata.NodeID{}, p.ISR...), other)}
	for _, n := range request.ISR {
		request.Incarnations = append(request.Incarnations, img.Incarnation(n))
	}
	do(metadata.Change{Fence: &metadata.Fence{Node: other, Incarnation: img.Incarnation(other)}})
	if r := do(metadata.Change{AlterPartition: &request}); r.Error == "" {
		t.Fatal("a fenced gateway is in sync")
	}
	hello(img.Members[other].Name)
	if r := do(metadata.Change{AlterPartition: &request}); r.Error == "" {
		t.Fatalf("an older copy of a refused request is granted: %+v", *r.Partition)
	}
}
