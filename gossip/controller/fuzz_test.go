package controller

import (
	"bytes"
	"testing"
	"time"

	"cistern/gossip/metadata"

	"github.com/vmihailenco/msgpack/v5"
)

// FuzzApply applies whatever msgpack makes of the input, one change after the
// other, to a site with something in it.
func FuzzApply(f *testing.F) {
	for _, seed := range [][]metadata.Change{
		{{Form: &metadata.Form{Site: "x"}}, {Fence: &metadata.Fence{Node: 1, Incarnation: 1}}, {Fence: &metadata.Fence{Node: 2, Incarnation: 1}}},
		{{Register: &metadata.Register{Name: "a", Address: "b", StoreID: "card-a", StoreIncarnation: 2, Unclean: true}}},
		{{Fence: &metadata.Fence{Node: 1, Incarnation: 1}}, {RemoveMember: &metadata.RemoveMember{Node: 1}}},
		{{PutStream: &metadata.PutStream{Config: metadata.DefaultStreamConfig("t")}}, {DeleteStream: &metadata.DeleteStream{Name: "s"}}},
		{{AlterPartition: &metadata.AlterPartition{Partition: s0, Leader: 1, ISR: []metadata.NodeID{1}, Incarnations: []uint64{1}}}},
		{{Reassign: &metadata.Reassign{Partition: s0, PartitionEpoch: AnyEpoch, Replicas: []metadata.NodeID{3, 4}}}},
		{{DrainNode: &metadata.DrainNode{Node: 1, On: true}}, {Elect: &metadata.Elect{Partition: s0, Node: 1, Unclean: true}}},
		{{PutDrain: &metadata.PutDrain{Partition: s0, Cursor: []byte("x")}}, {AssignSource: &metadata.AssignSource{Source: "m", Node: 1}}},
		{{AssignDrain: &metadata.AssignDrain{Partition: s0, Node: 2}}, {PutDrains: &metadata.PutDrains{Drains: []metadata.PutDrain{{Partition: s0, Epoch: 1}, {}}}}},
		{{AssignDrain: &metadata.AssignDrain{Partition: s0, Node: 2}}, {Fence: &metadata.Fence{Node: 2, Incarnation: 1}}, {PutClock: &metadata.PutClock{Boot: "b", Node: 1, BootAt: 5}}},
	} {
		var b bytes.Buffer
		e := msgpack.NewEncoder(&b)
		for i := range seed {
			if err := e.Encode(&seed[i]); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := newSite(t, "a", "b", "c", "d")
		s.stream("s", 2, 3, 2)
		s.reorder(s0, 1, 2, 3)
		in := msgpack.NewDecoder(bytes.NewReader(raw))
		for range 50 {
			var c metadata.Change
			if in.Decode(&c) != nil {
				break
			}
			s.apply(c)
		}
		for _, c := range Decide(time.UnixMilli(0), s.img, s.alive(time.Hour, 2), DefaultPolicy()) {
			s.apply(c)
		}
	})
}
