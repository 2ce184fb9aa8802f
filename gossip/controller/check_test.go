package controller

import (
	"testing"

	"cistern/gossip/metadata"
)

// TestCheckFinds spoils a sound image in every way that Check knows.
func TestCheckFinds(t *testing.T) {
	type state = metadata.PartitionState
	member := func(n metadata.NodeID, f func(m *metadata.Member)) func(*metadata.Image, *state) {
		return func(img *metadata.Image, _ *state) {
			m := img.Members[n]
			f(&m)
			img.Members[n] = m
		}
	}
	for name, spoil := range map[string]func(img *metadata.Image, p *state){
		"another ID":            member(1, func(m *metadata.Member) { m.ID = 2 }),
		"an ID to come":         func(img *metadata.Image, _ *state) { img.NextID = 3 },
		"no incarnation":        member(1, func(m *metadata.Member) { m.Incarnation = 0 }),
		"a name twice":          member(1, func(m *metadata.Member) { m.Name = "b" }),
		"too many sources":      func(img *metadata.Image, _ *state) { img.Sources = manySources() },
		"a reader unknown":      func(img *metadata.Image, _ *state) { img.Sources["x"] = 9 },
		"a drain of nothing":    func(img *metadata.Image, _ *state) { img.Drains[part("x", 0)] = metadata.Drain{} },
		"a drain ahead":         func(img *metadata.Image, _ *state) { img.Drains[s0] = metadata.Drain{LeaderEpoch: 9} },
		"drained by a stranger": func(img *metadata.Image, _ *state) { img.Drains[s0] = metadata.Drain{Node: 9} },
		"drained by NoNode":     func(img *metadata.Image, _ *state) { img.Drains[s0] = metadata.Drain{Node: metadata.NoNode} },
		"its leader assigned":   func(img *metadata.Image, _ *state) { img.Drains[s0] = metadata.Drain{Node: 1} },
		"a clock to come":       func(img *metadata.Image, _ *state) { img.Clocks["x"] = metadata.Clock{Index: img.Index + 1} },
		"two clocks at once": func(img *metadata.Image, _ *state) {
			img.Clocks["x"], img.Clocks["y"] = metadata.Clock{}, metadata.Clock{}
		},
		"a stream's name":     func(img *metadata.Image, _ *state) { img.Streams["x"] = img.Streams["s"] },
		"a partition lost":    func(img *metadata.Image, _ *state) { img.Streams["s"].Config.Partitions = 2 },
		"a replica unknown":   func(_ *metadata.Image, p *state) { p.Replicas[2] = 9 },
		"a replica twice":     func(_ *metadata.Image, p *state) { p.Replicas[2] = 1 },
		"no replicas":         func(_ *metadata.Image, p *state) { *p = state{Leader: metadata.NoNode} },
		"in sync, no replica": func(_ *metadata.Image, p *state) { p.Replicas = p.Replicas[:2] },
		"in sync twice":       func(_ *metadata.Image, p *state) { p.ISR[2] = 1 },
		"fenced and in sync":  member(3, func(m *metadata.Member) { m.Fenced = true }),
		"fenced and leads": func(img *metadata.Image, p *state) {
			p.ISR = p.ISR[:1]
			m := img.Members[1]
			m.Fenced = true
			img.Members[1] = m
		},
		"leads, not in sync":    func(_ *metadata.Image, p *state) { p.ISR = p.ISR[1:] },
		"no leader":             func(_ *metadata.Image, p *state) { p.Leader = metadata.NoNode },
		"nobody was last":       func(_ *metadata.Image, p *state) { p.ISR, p.Leader = nil, metadata.NoNode },
		"last, and not":         func(_ *metadata.Image, p *state) { p.LastISR = []metadata.NodeID{1} },
		"lost, and not":         func(_ *metadata.Image, p *state) { p.LastLost = true },
		"adds no replica":       func(_ *metadata.Image, p *state) { p.Adding = []metadata.NodeID{9} },
		"adds and removes":      func(_ *metadata.Image, p *state) { p.Adding, p.Removing = p.Replicas[:1], p.Replicas[:1] },
		"removes all":           func(_ *metadata.Image, p *state) { p.Removing = p.Replicas },
		"adds all":              func(_ *metadata.Image, p *state) { p.Adding = p.Replicas },
		"removes what isn't it": func(_ *metadata.Image, p *state) { p.Removing = []metadata.NodeID{9} },
	} {
		t.Run(name, func(t *testing.T) {
			img := deepClone(three(t).img)
			p := &img.Streams["s"].Partitions[0]
			*p = p.Clone()
			if err := Check(img); err != nil {
				t.Fatal(err)
			}
			if spoil(img, p); Check(img) == nil {
				t.Fatalf("%+v passed", *p)
			}
		})
	}
}

func manySources() map[string]metadata.NodeID {
	out := map[string]metadata.NodeID{}
	for i := range SourcesMax + 1 {
		out[string(rune('a'+i))] = 1
	}
	return out
}

// TestCheckStepFinds makes steps that no change makes.
func TestCheckStepFinds(t *testing.T) {
	type state = metadata.PartitionState
	for name, step := range map[string]func(img *metadata.Image, p *state){
		"IDs fall":          func(img *metadata.Image, _ *state) { img.NextID-- },
		"another site":      func(img *metadata.Image, _ *state) { img.Site = "other" },
		"a life before":     func(img *metadata.Image, _ *state) { m := img.Members[1]; m.Incarnation--; img.Members[1] = m },
		"another name":      func(img *metadata.Image, _ *state) { m := img.Members[1]; m.Name = "z"; img.Members[1] = m },
		"partitions lost":   func(img *metadata.Image, _ *state) { img.Streams["s"].Partitions = nil },
		"an epoch falls":    func(_ *metadata.Image, p *state) { p.LeaderEpoch--; p.PartitionEpoch++ },
		"two epochs":        func(_ *metadata.Image, p *state) { p.LeaderEpoch += 2; p.PartitionEpoch++ },
		"a version falls":   func(_ *metadata.Image, p *state) { p.PartitionEpoch-- },
		"no version":        func(_ *metadata.Image, p *state) { p.ISR = p.ISR[:2] },
		"a version in vain": func(_ *metadata.Image, p *state) { p.PartitionEpoch++ },
		"same epoch":        func(_ *metadata.Image, p *state) { p.Leader = 2; p.PartitionEpoch++ },
		"another drainer":   func(img *metadata.Image, _ *state) { img.Drains[s0] = metadata.Drain{Node: 3} },
		"two drain epochs":  func(img *metadata.Image, _ *state) { img.Drains[s0] = metadata.Drain{Node: 3, Epoch: 2} },
		"unclean unsaid":    func(_ *metadata.Image, p *state) { p.Unclean++; p.PartitionEpoch++ },
		"all others": func(_ *metadata.Image, p *state) {
			p.ISR, p.Leader = []metadata.NodeID{4}, 4
			p.LeaderEpoch++
			p.PartitionEpoch++
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := three(t)
			s.do(metadata.Change{Form: &metadata.Form{Site: "this"}})
			s.start("a")
			s.start("d")
			before, after := deepClone(s.img), deepClone(s.img)
			if err := CheckStep(before, after); err != nil {
				t.Fatal(err)
			}
			p := &after.Streams["s"].Partitions[0]
			*p = p.Clone()
			if step(after, p); CheckStep(before, after) == nil {
				t.Fatalf("%+v became %+v and passed", before.Streams["s"].Partitions[0], *p)
			}
		})
	}
}
