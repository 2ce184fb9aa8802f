package controller

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"cistern/gossip/metadata"
)

func gateways(n int, f func(m *metadata.Member)) []metadata.Member {
	var out []metadata.Member
	for i := range n {
		m := metadata.Member{ID: metadata.NodeID(i + 1), Name: fmt.Sprintf("gw-%d", i+1), Weight: 1}
		if f != nil {
			f(&m)
		}
		out = append(out, m)
	}
	return out
}

// The logarithm is right to nine digits, and the same on every machine: these
// are integers.
func TestDistance(t *testing.T) {
	for _, h := range []uint64{1, 2, 3, 1 << 20, 1<<63 - 1, 1 << 63, 0xdeadbeefcafef00d, math.MaxUint64} {
		want := 64 - math.Log2(float64(h|1))
		if got := float64(distance(h)) / (1 << 32); math.Abs(got-want) > 1e-8 {
			t.Errorf("%x: %v, want %v", h, got, want)
		}
	}
	if distance(math.MaxUint64) == 0 {
		t.Error("a perfect lot would make weights meaningless")
	}
	if d := draw(part("mqtt", 7), &metadata.Member{Name: "gw-1"}); d.distance != 2861089900 {
		t.Errorf("%d: placements differ from those of other versions", d.distance)
	}
}

func TestPlaceIsRendezvous(t *testing.T) {
	members := gateways(16, nil)
	moved, onto := 0, map[metadata.NodeID]int{}
	const partitions = 1024
	for i := range int32(partitions) {
		before, after := Place(members[:15], part("s", i), 3), Place(members, part("s", i), 3)
		for _, n := range without(after, before...) {
			moved++
			onto[n]++
		}
	}
	if len(onto) != 1 || onto[16] == 0 {
		t.Fatalf("replicas moved to others than the one that joined: %v", onto)
	}
	if share := partitions * 3 / 16; moved < share*8/10 || moved > share*12/10 {
		t.Fatalf("%d replicas moved, a share is %d", moved, share)
	}
}

func TestPlaceWeighs(t *testing.T) {
	members := gateways(4, func(m *metadata.Member) {
		if m.ID == 4 {
			m.Weight = 3
		}
	})
	got := map[metadata.NodeID]int{}
	for i := range int32(3000) {
		got[Place(members, part("s", i), 1)[0]]++
	}
	for n, want := range map[metadata.NodeID]int{1: 500, 2: 500, 3: 500, 4: 1500} {
		if got[n] < want*9/10 || got[n] > want*11/10 {
			t.Errorf("%d got %d, its weight is worth %d", n, got[n], want)
		}
	}
}

func TestPlaceSpreadsOverZones(t *testing.T) {
	for zones, want := range map[int]int{1: 1, 2: 2, 3: 3, 5: 3} {
		members := gateways(10, func(m *metadata.Member) { m.Zone = fmt.Sprint(int(m.ID) % zones) })
		for i := range int32(100) {
			var seen []string
			for _, n := range Place(members, part("s", i), 3) {
				if z := members[n-1].Zone; !slices.Contains(seen, z) {
					seen = append(seen, z)
				}
			}
			if len(seen) != want {
				t.Fatalf("%d zones: s/%d is in %v", zones, i, seen)
			}
		}
	}
	if got := Place(gateways(2, nil), s0, 5); len(got) != 2 {
		t.Fatal(got)
	}
	if got := Place(nil, s0, 3); len(got) != 0 {
		t.Fatal(got)
	}
}

// Sixteen gateways and 256 partitions: replicas and leaderships differ by one
// or two.
func TestBalance(t *testing.T) {
	var names []string
	for i := range 16 {
		names = append(names, fmt.Sprintf("gw-%d", i))
	}
	s := newSite(t, names...)
	s.stream("s", 200, 3, 2)
	s.stream("t", 56, 3, 2)
	s.balanced(16*3, 0.02, 1)
}

// balanced checks replicas for one member against share, give or take slack,
// and preferred leaders to differ by no more than leads.
func (s *site) balanced(share float64, slack float64, leads int) {
	s.t.Helper()
	sp := newSpread(s.img, byID(s.img, func(*metadata.Member) bool { return true }), 0)
	least, most := math.MaxInt, 0
	for _, m := range sp.members {
		if n := float64(sp.replicas[m.ID]); math.Abs(n-share) > share*slack+1 {
			s.t.Errorf("%s keeps %v replicas, its share is %v", m.Name, n, share)
		}
		least, most = min(least, sp.leads[m.ID]), max(most, sp.leads[m.ID])
	}
	if most-least > leads+1 {
		s.t.Errorf("some are preferred by %d partitions, others by %d", least, most)
	}
}
