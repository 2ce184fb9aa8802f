package controller

import (
	"strings"
	"testing"

	"cistern/gossip/metadata"
)

// TestRefusals has every way to be told no.
func TestRefusals(t *testing.T) {
	s := newSite(t, "a", "b", "c", "d")
	s.stream("s", 2, 3, 2)
	s.reorder(s0, 1, 2, 3)
	s.fence(3)
	s.do(metadata.Change{DrainNode: &metadata.DrainNode{Node: 2, On: true}})
	p := s.img.Partition(s0)

	config := func(f func(c *metadata.StreamConfig)) metadata.Change {
		c := metadata.DefaultStreamConfig("s")
		c.Partitions, c.Replicas, c.MinInsync = 2, 3, 2
		f(&c)
		return metadata.Change{PutStream: &metadata.PutStream{Config: c, Alter: c.Name == "s"}}
	}
	alter := func(f func(a *metadata.AlterPartition)) metadata.Change {
		c := s.alter(s0, 1, 2)
		f(c.AlterPartition)
		return c
	}
	hello := func(f func(r *metadata.Register)) metadata.Change {
		r := &metadata.Register{Name: "new", Address: "x:1", StoreID: "card", StoreIncarnation: 1}
		f(r)
		return metadata.Change{Register: r}
	}
	reassign := func(epoch int32, n ...metadata.NodeID) metadata.Change {
		return metadata.Change{Reassign: &metadata.Reassign{Partition: s0, PartitionEpoch: epoch, Replicas: n}}
	}
	elect := func(n metadata.NodeID, epoch int32, unclean bool) metadata.Change {
		return metadata.Change{Elect: &metadata.Elect{Partition: s0, Node: n, PartitionEpoch: epoch, Unclean: unclean}}
	}
	drain := func(id metadata.PartitionID, epoch int32, size int) metadata.Change {
		return metadata.Change{PutDrain: &metadata.PutDrain{Partition: id, LeaderEpoch: epoch, Cursor: make([]byte, size)}}
	}

	for name, x := range map[string]struct {
		change metadata.Change
		want   error
	}{
		"nothing":    {metadata.Change{}, metadata.ErrInvalid},
		"two things": {metadata.Change{Form: &metadata.Form{Site: "x"}, DeleteStream: &metadata.DeleteStream{Name: "s"}}, metadata.ErrInvalid},
		"no site":    {metadata.Change{Form: &metadata.Form{}}, metadata.ErrInvalid},

		"register: no name":       {hello(func(r *metadata.Register) { r.Name = "" }), metadata.ErrInvalid},
		"register: control":       {hello(func(r *metadata.Register) { r.Name = "a\nb" }), metadata.ErrInvalid},
		"register: not UTF-8":     {hello(func(r *metadata.Register) { r.Zone = "\xff" }), metadata.ErrInvalid},
		"register: long":          {hello(func(r *metadata.Register) { r.Address = strings.Repeat("x", NameMax+1) }), metadata.ErrInvalid},
		"register: no store":      {hello(func(r *metadata.Register) { r.StoreID = "" }), metadata.ErrInvalid},
		"register: weight":        {hello(func(r *metadata.Register) { r.Weight = -1 }), metadata.ErrInvalid},
		"register: heavy":         {hello(func(r *metadata.Register) { r.Weight = WeightMax + 1 }), metadata.ErrInvalid},
		"register: sources":       {hello(func(r *metadata.Register) { r.Sources = make([]string, SourcesMax+1) }), metadata.ErrInvalid},
		"register: no source":     {hello(func(r *metadata.Register) { r.Sources = []string{""} }), metadata.ErrInvalid},
		"register: name is taken": {hello(func(r *metadata.Register) { r.Name = "a" }), metadata.ErrNotAllowed},
		"register: old card":      {hello(func(r *metadata.Register) { r.Name, r.StoreID, r.StoreIncarnation = "a", "card-a", 0 }), metadata.ErrStaleIncarnation},

		"fence: nobody":       {metadata.Change{Fence: &metadata.Fence{Node: 9, Incarnation: 1}}, metadata.ErrUnknownMember},
		"fence: another life": {metadata.Change{Fence: &metadata.Fence{Node: 1, Incarnation: 2}}, metadata.ErrStaleIncarnation},
		"drain: nobody":       {metadata.Change{DrainNode: &metadata.DrainNode{Node: metadata.NoNode}}, metadata.ErrUnknownMember},
		"remove: nobody":      {metadata.Change{RemoveMember: &metadata.RemoveMember{Node: 9}}, metadata.ErrUnknownMember},
		"remove: alive":       {metadata.Change{RemoveMember: &metadata.RemoveMember{Node: 1}}, metadata.ErrNotAllowed},
		"remove: needed":      {metadata.Change{RemoveMember: &metadata.RemoveMember{Node: 2}}, metadata.ErrNotAllowed},

		"stream: no name":           {config(func(c *metadata.StreamConfig) { c.Name = "" }), metadata.ErrInvalid},
		"stream: reserved":          {config(func(c *metadata.StreamConfig) { c.Name = "cistern.parked.x" }), metadata.ErrInvalid},
		"stream: acks":              {config(func(c *metadata.StreamConfig) { c.Acks = 2 }), metadata.ErrInvalid},
		"stream: when full":         {config(func(c *metadata.StreamConfig) { c.WhenFull = 7 }), metadata.ErrInvalid},
		"stream: more than copies":  {config(func(c *metadata.StreamConfig) { c.Replicas, c.MinInsync = 0, 4 }), metadata.ErrInvalid},
		"stream: fewer partitions":  {config(func(c *metadata.StreamConfig) { c.Partitions = 1 }), metadata.ErrNotAllowed},
		"stream: another lane":      {config(func(c *metadata.StreamConfig) { c.Lane = "bulk" }), metadata.ErrNotAllowed},
		"stream: exists":            {metadata.Change{PutStream: &metadata.PutStream{Config: metadata.DefaultStreamConfig("s")}}, metadata.ErrNotAllowed},
		"stream: alters nothing":    {metadata.Change{PutStream: &metadata.PutStream{Config: metadata.DefaultStreamConfig("x"), Alter: true}}, metadata.ErrUnknownPartition},
		"stream: deletes nothing":   {metadata.Change{DeleteStream: &metadata.DeleteStream{Name: "x"}}, metadata.ErrUnknownPartition},
		"alter: unknown":            {alter(func(a *metadata.AlterPartition) { a.Partition.Partition = 2 }), metadata.ErrUnknownPartition},
		"alter: negative":           {alter(func(a *metadata.AlterPartition) { a.Partition.Partition = -1 }), metadata.ErrUnknownPartition},
		"alter: not the leader":     {alter(func(a *metadata.AlterPartition) { a.Leader = 2 }), metadata.ErrFencedLeaderEpoch},
		"alter: old epoch":          {alter(func(a *metadata.AlterPartition) { a.LeaderEpoch-- }), metadata.ErrFencedLeaderEpoch},
		"alter: old version":        {alter(func(a *metadata.AlterPartition) { a.PartitionEpoch-- }), metadata.ErrInvalidUpdateVersion},
		"alter: empty":              {alter(func(a *metadata.AlterPartition) { a.ISR, a.Incarnations = nil, nil }), metadata.ErrInvalid},
		"alter: twice":              {alter(func(a *metadata.AlterPartition) { a.ISR[1] = 1 }), metadata.ErrInvalid},
		"alter: without the leader": {alter(func(a *metadata.AlterPartition) { a.ISR, a.Incarnations = a.ISR[1:], a.Incarnations[1:] }), metadata.ErrInvalid},
		"alter: no incarnation":     {alter(func(a *metadata.AlterPartition) { a.Incarnations = a.Incarnations[1:] }), metadata.ErrInvalid},
		"alter: no replica":         {alter(func(a *metadata.AlterPartition) { a.ISR[1] = 4 }), metadata.ErrIneligibleReplica},
		"alter: fenced":             {alter(func(a *metadata.AlterPartition) { a.ISR[1] = 3 }), metadata.ErrIneligibleReplica},
		"alter: another life":       {alter(func(a *metadata.AlterPartition) { a.Incarnations[1]++ }), metadata.ErrStaleIncarnation},

		"elect: unknown":        {metadata.Change{Elect: &metadata.Elect{Partition: part("x", 0)}}, metadata.ErrUnknownPartition},
		"elect: old version":    {elect(1, p.PartitionEpoch-1, false), metadata.ErrInvalidUpdateVersion},
		"elect: not in sync":    {elect(3, AnyEpoch, false), metadata.ErrIneligibleReplica},
		"elect: no replica":     {elect(4, AnyEpoch, false), metadata.ErrIneligibleReplica},
		"elect: draining":       {elect(2, AnyEpoch, false), metadata.ErrIneligibleReplica},
		"elect: needlessly":     {elect(3, AnyEpoch, true), metadata.ErrNotAllowed},
		"reassign: unknown":     {metadata.Change{Reassign: &metadata.Reassign{Partition: part("s", 7), Replicas: []metadata.NodeID{1}}}, metadata.ErrUnknownPartition},
		"reassign: old version": {reassign(p.PartitionEpoch-1, 1), metadata.ErrInvalidUpdateVersion},
		"reassign: nobody":      {reassign(p.PartitionEpoch), metadata.ErrInvalid},
		"reassign: twice":       {reassign(p.PartitionEpoch, 1, 1), metadata.ErrInvalid},
		"reassign: too many":    {reassign(p.PartitionEpoch, 1, 2, 3, 4, 5, 6), metadata.ErrInvalid},
		"reassign: stranger":    {reassign(p.PartitionEpoch, 1, 9), metadata.ErrUnknownMember},

		"cursor: unknown":       {drain(part("s", -1), 0, 1), metadata.ErrUnknownPartition},
		"cursor: old epoch":     {drain(s0, p.LeaderEpoch-1, 1), metadata.ErrFencedLeaderEpoch},
		"cursor: too large":     {drain(s0, p.LeaderEpoch, CursorBytesMax+1), metadata.ErrInvalid},
		"source: no name":       {metadata.Change{AssignSource: &metadata.AssignSource{Node: 1}}, metadata.ErrInvalid},
		"source: nobody":        {metadata.Change{AssignSource: &metadata.AssignSource{Source: "x", Node: 9}}, metadata.ErrUnknownMember},
		"source: fenced":        {metadata.Change{AssignSource: &metadata.AssignSource{Source: "x", Node: 3}}, metadata.ErrIneligibleReplica},
		"source: can't read it": {metadata.Change{AssignSource: &metadata.AssignSource{Source: "x", Node: 1}}, metadata.ErrIneligibleReplica},
	} {
		s.t.Run(name, func(t *testing.T) {
			on := &site{t: t, img: s.img}
			on.refused(x.change, x.want)
		})
	}
}

func TestReassignRefusesTheDead(t *testing.T) {
	s := newSite(t, "a", "b")
	s.stream("s", 1, 1, 1)
	other := 3 - s.img.Partition(s0).Leader
	s.fence(other)
	s.refused(metadata.Change{Reassign: &metadata.Reassign{Partition: s0, PartitionEpoch: AnyEpoch, Replicas: []metadata.NodeID{other}}}, metadata.ErrIneligibleReplica)
}

func TestLimitsOfASite(t *testing.T) {
	s := &site{t: t, img: metadata.NewImage(), store: map[string]uint64{}}
	s.refused(metadata.Change{PutStream: &metadata.PutStream{Config: metadata.DefaultStreamConfig("s")}}, metadata.ErrNotAllowed)
	for i := range metadata.MembersMax {
		s.start(strings.Repeat("x", i+1))
	}
	s.refused(metadata.Change{Register: s.hello("new")}, metadata.ErrNotAllowed)
	s.again("x") // one that is known comes in

	s.stream("s", metadata.PartitionsMax, 1, 1)
	s.stream("t", PartitionsMax-metadata.PartitionsMax, 1, 1)
	s.refused(metadata.Change{PutStream: &metadata.PutStream{Config: metadata.DefaultStreamConfig("u")}}, metadata.ErrNotAllowed)
}
