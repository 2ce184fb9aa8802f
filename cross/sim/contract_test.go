package sim

import (
	"testing"

	"cistern/gossip/controller"
	"cistern/gossip/metadata"
)

// newSite returns three gateways with one partition, and how to change them.
func newSite() (do func(metadata.Change) metadata.Result, img func() *metadata.Image) {
	now := metadata.NewImage()
	do = func(c metadata.Change) (r metadata.Result) {
		now, r = controller.Apply(now, now.Index+1, c)
		return r
	}
	for _, name := range []string{"A", "B", "C"} {
		do(hello(name))
	}
	c := metadata.DefaultStreamConfig(stream)
	c.Replicas = 3
	do(metadata.Change{PutStream: &metadata.PutStream{Config: c}})
	return do, func() *metadata.Image { return now }
}

func hello(name string) metadata.Change {
	return metadata.Change{Register: &metadata.Register{Name: name, Address: name + ":1", StoreID: name, StoreIncarnation: 1}}
}

// A leader whose request got no answer sends it again, and takes one refusal
// for the end of all copies: it no longer counts whom it asked for. So what was
// refused once must stay refused, whatever happens to the gateways it names.
// Here the one to be added is fenced when the second copy arrives, and back
// when the first does.
func TestWhatWasRefusedStaysRefused(t *testing.T) {
	do, img := newSite()
	p := img().Partition(partition)
	leader, other := p.Replicas[0], p.Replicas[2]
	do(metadata.Change{Fence: &metadata.Fence{Node: other, Incarnation: 1}})
	do(hello(img().Members[other].Name))

	p = img().Partition(partition)
	request := metadata.AlterPartition{Partition: partition, Leader: leader, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch,
		ISR: append(append([]metadata.NodeID{}, p.ISR...), other)}
	for _, n := range request.ISR {
		request.Incarnations = append(request.Incarnations, img().Incarnation(n))
	}
	do(metadata.Change{Fence: &metadata.Fence{Node: other, Incarnation: img().Incarnation(other)}})
	if r := do(metadata.Change{AlterPartition: &request}); r.Error == "" {
		t.Fatal("a fenced gateway is in sync")
	}
	do(hello(img().Members[other].Name))
	if r := do(metadata.Change{AlterPartition: &request}); r.Error == "" {
		t.Fatalf("an older copy of a refused request is granted: %+v", *r.Partition)
	}
}

// A leader whose journal has failed asks for another, whoever it is: it must
// not get itself again, as the preferred one.
func TestAnotherLeaderIsNotTheSame(t *testing.T) {
	do, img := newSite()
	was := *img().Partition(partition)
	r := do(metadata.Change{Elect: &metadata.Elect{Partition: partition, Node: metadata.NoNode, PartitionEpoch: was.PartitionEpoch}})
	if now := r.Partition; r.Error != "" || now.Leader == was.Leader || now.LeaderEpoch != was.LeaderEpoch+1 {
		t.Fatalf("%+v became %+v", was, r)
	}
}
