package controller

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"cistern/gossip/metadata"

	"github.com/vmihailenco/msgpack/v5"
)

// walk makes random changes that are nearly right, which finds more than wholly
// random ones. Check and CheckStep hold after each (see site.apply).
type walk struct {
	*site
	*rand.Rand
}

func (w *walk) node() metadata.NodeID { return metadata.NodeID(w.IntN(9) - 1) }

func (w *walk) nodes() (out []metadata.NodeID) {
	for range w.IntN(4) + w.IntN(2) {
		out = append(out, w.node())
	}
	return out
}

func (w *walk) partition() metadata.PartitionID {
	return part([]string{"s", "t", "u"}[w.IntN(3)], int32(w.IntN(4)))
}

// version is mostly the right one.
func (w *walk) version(p *metadata.PartitionState) int32 {
	if w.IntN(8) == 0 {
		return AnyEpoch
	}
	return p.PartitionEpoch
}

func (w *walk) change() metadata.Change {
	id := w.partition()
	p := w.img.Partition(id)
	if p == nil {
		p = &metadata.PartitionState{}
	}
	switch n := w.node(); w.IntN(14) {
	case 0, 1:
		r := w.hello(fmt.Sprint("gw-", w.IntN(6)))
		r.Unclean = w.IntN(6) == 0
		if w.IntN(6) == 0 {
			r.StoreID += fmt.Sprint(w.IntN(3))
		}
		return metadata.Change{Register: r}
	case 2:
		return metadata.Change{Fence: &metadata.Fence{Node: n, Incarnation: w.img.Incarnation(n)}}
	case 3:
		return metadata.Change{DrainNode: &metadata.DrainNode{Node: n, On: w.IntN(2) == 0}}
	case 4:
		if w.IntN(4) == 0 {
			return metadata.Change{RemoveMember: &metadata.RemoveMember{Node: n}}
		}
		put := metadata.PutDrain{Partition: id, LeaderEpoch: p.LeaderEpoch, Epoch: w.img.Drains[id].Epoch, Cursor: []byte{byte(w.IntN(9))}, Seq: w.img.Drains[id].Seq + int64(w.IntN(4)) - 1}
		if w.IntN(2) == 0 {
			other := put
			other.Epoch += int32(w.IntN(3) - 1)
			return metadata.Change{PutDrains: &metadata.PutDrains{Drains: []metadata.PutDrain{put, other}}}
		}
		return metadata.Change{PutDrain: &put}
	case 5:
		c := metadata.DefaultStreamConfig(id.Stream)
		c.Partitions, c.Replicas, c.MinInsync = int32(w.IntN(4)+1), w.IntN(5), w.IntN(3)
		if w.IntN(5) == 0 {
			return metadata.Change{DeleteStream: &metadata.DeleteStream{Name: id.Stream}}
		}
		return metadata.Change{PutStream: &metadata.PutStream{Config: c, Alter: w.IntN(2) == 0}}
	case 6, 7, 8:
		if w.img.Partition(id) == nil {
			return metadata.Change{}
		}
		isr := append(w.nodes(), p.Leader)
		if w.IntN(2) == 0 {
			isr = p.Replicas
		}
		return w.alter(id, isr...)
	case 9:
		return metadata.Change{Elect: &metadata.Elect{Partition: id, Node: n, PartitionEpoch: w.version(p), Unclean: w.IntN(2) == 0}}
	case 10, 11:
		if len(p.ISR) > 0 && w.IntN(4) > 0 {
			n = p.ISR[w.IntN(len(p.ISR))]
		}
		return metadata.Change{AssignDrain: &metadata.AssignDrain{Partition: id, Node: n, Epoch: w.img.Drains[id].Epoch}}
	case 12:
		return metadata.Change{PutClock: &metadata.PutClock{Boot: fmt.Sprint("boot-", w.IntN(9)), Node: n, BootAt: int64(w.IntN(3))}}
	}
	return metadata.Change{Reassign: &metadata.Reassign{Partition: id, PartitionEpoch: w.version(p), Replicas: w.nodes()}}
}

// TestRandomWalk also applies every change to a copy of the image that was
// stored and read back, as a gateway has it that began with a snapshot, and
// lets Decide speak now and then: it never panics and always comes to rest.
func TestRandomWalk(t *testing.T) {
	refused, made := 0, 0
	for seed := range uint64(12) {
		w := &walk{newSite(t), rand.New(rand.NewPCG(seed, 0))}
		twin := stored(t, w.img)
		for i := range 400 {
			c := w.change()
			if r := w.apply(c); r.Error == "" {
				made++
			} else {
				refused++
			}
			twin, _ = Apply(twin, twin.Index+1, c)
			if i%20 != 19 {
				continue
			}
			if a, b := stored(t, w.img), stored(t, twin); !reflect.DeepEqual(a, b) {
				t.Fatalf("seed %d, change %d (%s): two gateways disagree:\n%+v\n%+v", seed, i, describe(c), a, b)
			}
			twin = stored(t, twin)
			if i%100 == 99 {
				w.recover()
				twin = stored(t, w.img)
			}
		}
	}
	if made < 1000 || refused < 500 {
		t.Fatalf("%d changes made and %d refused: the walk is not worth much", made, refused)
	}
}

// recover lets everybody be there and steady: then every partition that has
// somebody in sync gets all its copies.
func (w *walk) recover() {
	w.t.Helper()
	for n, m := range w.img.Members {
		w.do(metadata.Change{DrainNode: &metadata.DrainNode{Node: n}})
		w.do(metadata.Change{Register: &metadata.Register{Name: m.Name, Address: m.Address, StoreID: m.StoreID, StoreIncarnation: m.StoreIncarnation}})
	}
	w.catchUp()
	w.decide(time.Hour)
	each(w.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		if len(p.ISR) == 0 {
			return // only an operator may say
		}
		want := Replicas(w.img.Streams[id.Stream].Config, len(w.img.Members))
		if p.Leader != p.Replicas[0] || len(p.Replicas) != want || len(p.ISR) != want || len(p.Adding)+len(p.Removing) > 0 {
			w.t.Fatalf("%s of %d members did not recover: %+v", id, len(w.img.Members), p)
		}
	})
}

// stored is what a snapshot makes of an image.
func stored(t *testing.T, img *metadata.Image) *metadata.Image {
	t.Helper()
	c := deepClone(img)
	drains := c.Drains
	c.Drains = nil // msgpack can't decode a struct as a map's key
	raw, err := msgpack.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out := metadata.NewImage()
	if err := msgpack.Unmarshal(raw, out); err != nil {
		t.Fatal(err)
	}
	out.Drains = drains
	return out
}
