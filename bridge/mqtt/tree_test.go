package mqtt

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"cistern/bridge/mqtt/packet"
)

// The tree finds exactly what matching filter by filter finds.
func TestTreeMatchesLikeMatch(t *testing.T) {
	levels := []string{"a", "b", "", "+", "#"}
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var tr tree
		var subs []*subscription
		for range 20 {
			if sub := (&subscription{filter: randomTopic(rng, levels)}); packet.ValidFilter(sub.filter) {
				subs = append(subs, sub)
				tr.insert(sub)
			}
		}
		for i := range subs {
			topic := randomTopic(rng, levels[:3])
			var want []string
			for _, sub := range subs[i:] {
				if packet.Match(sub.filter, topic) {
					want = append(want, sub.filter)
				}
			}
			var got []string
			for _, sub := range tr.match(nil, topic) {
				got = append(got, sub.filter)
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, topic %q: got %q, want %q", seed, topic, got, want)
			}
			tr.remove(subs[i])
		}
		if len(tr.root.children) != 0 {
			t.Fatalf("seed %d: nodes are left: %v", seed, fmt.Sprint(tr.root.children))
		}
	}
}

func randomTopic(rng *rand.Rand, levels []string) string {
	var parts []string
	for range 1 + rng.IntN(4) {
		parts = append(parts, levels[rng.IntN(len(levels))])
	}
	return strings.Join(parts, "/")
}
