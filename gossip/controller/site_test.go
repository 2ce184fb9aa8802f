package controller

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"cistern/gossip/metadata"
)

// site is an image under test. Every change it makes is held against Check,
// CheckStep and the promise that the image before is never touched.
type site struct {
	t     *testing.T
	img   *metadata.Image
	store map[string]uint64 // name → how often its store was opened
}

// newSite registers gateways; "b@z" is gateway b in zone z. The first has the
// node ID 1.
func newSite(t *testing.T, names ...string) *site {
	s := &site{t: t, img: metadata.NewImage(), store: map[string]uint64{}}
	for _, n := range names {
		s.start(n)
	}
	return s
}

func (s *site) apply(c metadata.Change) metadata.Result {
	s.t.Helper()
	before, frozen := s.img, deepClone(s.img)
	after, r := Apply(before, before.Index+1, c)
	if !reflect.DeepEqual(before, frozen) {
		s.t.Fatalf("%+v changed the image before it", c)
	}
	if err := errors.Join(Check(after), CheckStep(before, after)); err != nil {
		s.t.Fatalf("after %s: %v", describe(c), err)
	}
	if after.Index != before.Index+1 || r.Index != after.Index {
		s.t.Fatalf("index is %d, the result's %d, want %d", after.Index, r.Index, before.Index+1)
	}
	if r.Error != "" {
		frozen.Index++
		if !reflect.DeepEqual(after, frozen) {
			s.t.Fatalf("%s was refused (%v) and changed something", describe(c), r.Err())
		}
	}
	s.img = after
	return r
}

func (s *site) do(c metadata.Change) metadata.Result {
	s.t.Helper()
	r := s.apply(c)
	if err := r.Err(); err != nil {
		s.t.Fatalf("%s: %v", describe(c), err)
	}
	return r
}

func (s *site) refused(c metadata.Change, want error) metadata.Result {
	s.t.Helper()
	r := s.apply(c)
	if err := r.Err(); !errors.Is(err, want) || r.Detail == "" {
		s.t.Fatalf("%s: %v (detail %q), want %v with a detail", describe(c), err, r.Detail, want)
	}
	return r
}

// hello is the registration of a gateway's next start.
func (s *site) hello(name string) *metadata.Register {
	zone := ""
	for i := range name {
		if name[i] == '@' {
			name, zone = name[:i], name[i+1:]
			break
		}
	}
	s.store[name]++
	return &metadata.Register{Name: name, Address: name + ":7072", Zone: zone, Weight: 1, StoreID: "card-" + name, StoreIncarnation: s.store[name]}
}

func (s *site) start(name string) metadata.Result {
	s.t.Helper()
	return s.do(metadata.Change{Register: s.hello(name)})
}

// again is a living gateway that found itself fenced.
func (s *site) again(name string) metadata.Result {
	s.t.Helper()
	r := s.hello(name)
	s.store[r.Name]--
	r.StoreIncarnation--
	return s.do(metadata.Change{Register: r})
}

func (s *site) fence(n metadata.NodeID) metadata.Result {
	s.t.Helper()
	return s.do(metadata.Change{Fence: &metadata.Fence{Node: n, Incarnation: s.img.Incarnation(n)}})
}

func (s *site) stream(name string, partitions int32, replicas, minInsync int) {
	s.t.Helper()
	c := metadata.DefaultStreamConfig(name)
	c.Partitions, c.Replicas, c.MinInsync = partitions, replicas, minInsync
	s.do(metadata.Change{PutStream: &metadata.PutStream{Config: c}})
}

// alter is what the leader of p would ask for.
func (s *site) alter(id metadata.PartitionID, isr ...metadata.NodeID) metadata.Change {
	p := s.img.Partition(id)
	a := &metadata.AlterPartition{Partition: id, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, ISR: isr}
	for _, n := range isr {
		a.Incarnations = append(a.Incarnations, s.img.Incarnation(n))
	}
	return metadata.Change{AlterPartition: a}
}

// reorder sets up a partition that was made with exactly these replicas.
func (s *site) reorder(id metadata.PartitionID, replicas ...metadata.NodeID) {
	s.t.Helper()
	d := newDraft(s.img, s.img.Index+1, 0)
	d.stream(id.Stream).Partitions[id.Partition] = metadata.PartitionState{Replicas: replicas, ISR: replicas, Leader: replicas[0]}
	if s.img = d.img; Check(s.img) != nil {
		s.t.Fatal(Check(s.img))
	}
}

// catchUp is every leader finding that every replica that is there is in sync.
func (s *site) catchUp() {
	s.t.Helper()
	each(s.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		isr := slices.DeleteFunc(slices.Clone(p.Replicas), func(n metadata.NodeID) bool { return s.img.Members[n].Fenced })
		if p.Leader != metadata.NoNode && len(without(isr, p.ISR...)) > 0 {
			s.do(s.alter(id, isr...))
		}
	})
}

// want compares a partition, written as "leader/epoch replicas isr".
func (s *site) want(id metadata.PartitionID, want string) *metadata.PartitionState {
	s.t.Helper()
	p := s.img.Partition(id)
	if got := fmt.Sprintf("%d/%d %v %v", p.Leader, p.LeaderEpoch, p.Replicas, p.ISR); got != want {
		s.t.Fatalf("%s is %s, want %s", id, got, want)
	}
	return p
}

// alive says of every member how long it has been there; those in dead have
// been gone for as long.
func (s *site) alive(since time.Duration, dead ...metadata.NodeID) []Liveness {
	var out []Liveness
	for _, m := range s.img.Members {
		out = append(out, Liveness{Name: m.Name, Alive: !slices.Contains(dead, m.ID), For: since})
	}
	return out
}

// decide makes what is due until nothing is, followers catching up meanwhile,
// and returns all of it. since is how long everybody has been as it is.
func (s *site) decide(since time.Duration, dead ...metadata.NodeID) (done []metadata.Change) {
	s.t.Helper()
	for range 2000 {
		s.catchUp()
		due := Decide(time.UnixMilli(1), s.img, s.alive(since, dead...), DefaultPolicy())
		if len(due) == 0 {
			return done
		}
		for i, c := range due {
			if r := s.apply(c); i == 0 && r.Error != "" {
				s.t.Fatalf("what was due was refused: %s: %v", describe(c), r.Err())
			}
		}
		done = append(done, due...)
	}
	s.t.Fatal("Decide never comes to rest")
	return nil
}

func describe(c metadata.Change) string {
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Pointer && !f.IsNil() {
			return fmt.Sprintf("%s%+v", v.Type().Field(i).Name, f.Elem().Interface())
		}
	}
	return "empty change"
}

func deepClone(img *metadata.Image) *metadata.Image {
	c := img.Clone()
	for name, s := range c.Streams {
		c.Streams[name] = s.Clone()
	}
	return c
}

func part(stream string, p int32) metadata.PartitionID {
	return metadata.PartitionID{Stream: stream, Partition: p}
}
