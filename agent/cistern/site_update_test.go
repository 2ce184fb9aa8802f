package main

import (
	"fmt"
	"strings"
	"testing"

	"cistern/agent/status"
)

// The order is zone by zone, and whoever is talked through is last of all.
func TestWalkOrder(t *testing.T) {
	for name, test := range map[string]struct{ members, want string }{
		"one zone":             {"b a* c", "[b c a]"},
		"zones":                {"a1/x b1/y a2/x* b2/y", "[b1 b2 a1 a2]"},
		"first of its zone":    {"a1/x* b1/y a2/x b2/y c1/z", "[b1 b2 c1 a2 a1]"},
		"some name none":       {"a1/x b1 a2/x b2*", "[a1 a2 b1 b2]"},
		"asked of no member":   {"c b/x a", "[b a c]"},
		"a site of one":        {"a*", "[a]"},
		"already in that turn": {"a b c*", "[a b c]"},
	} {
		var members []status.Member
		for _, word := range strings.Fields(test.members) {
			word, self := strings.CutSuffix(word, "*")
			name, zone, _ := strings.Cut(word, "/")
			members = append(members, status.Member{Name: name, Zone: zone, Self: self})
		}
		var got []string
		for _, m := range inOrder(members) {
			got = append(got, m.Name)
		}
		if fmt.Sprint(got) != test.want {
			t.Errorf("%s: %v, want %s", name, got, test.want)
		}
	}
}

// What keeps a gateway from being taken out.
func TestSiteTrouble(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*status.Document)
		want   string
	}{
		"well":           {func(*status.Document) {}, ""},
		"draining":       {func(d *status.Document) { d.Site.Members[1].Draining = true }, ""},
		"alone":          {func(d *status.Document) { d.Site = nil }, "not formed"},
		"not formed":     {func(d *status.Document) { d.Site.Formed = false }, "not formed"},
		"no majority":    {func(d *status.Document) { d.Site.Quorum.HasQuorum = false }, "no majority"},
		"dead":           {func(d *status.Document) { d.Site.Members[1].State = status.MemberDead }, "b is dead"},
		"suspect":        {func(d *status.Document) { d.Site.Members[1].State = status.MemberSuspect }, "b is suspect"},
		"left":           {func(d *status.Document) { d.Site.Members[1].State = status.MemberLeft }, "b is left"},
		"not registered": {func(d *status.Document) { d.Site.Members[1].ID = 0 }, "b is not registered"},
		"fenced":         {func(d *status.Document) { d.Site.Members[1].Fenced = true }, "b is fenced"},
		"removed":        {func(d *status.Document) { d.Site.Members = d.Site.Members[:1] }, "b is gone"},
		"leaderless":     {func(d *status.Document) { d.Streams[0].Partitions[0].Leader = "" }, "mqtt/4 has no leader"},
		"behind":         {func(d *status.Document) { d.Streams[0].Partitions[0].ISR = []string{"a"} }, "mqtt/4 has 1 of 2 copies in sync"},
	} {
		both := []string{"a", "b"}
		d := &status.Document{
			Site: &status.Site{Formed: true, Quorum: status.Quorum{HasQuorum: true}, Members: []status.Member{
				{Name: "a", ID: 1, State: status.MemberAlive}, {Name: "b", ID: 2, State: status.MemberAlive}}},
			Streams: []status.Stream{{Name: "mqtt", Partitions: []status.Partition{
				{Partition: 4, Replication: status.Replication{Leader: "a", Replicas: both, ISR: both}}}}},
		}
		test.change(d)
		if got := siteTrouble(d, both); (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestSiteAddress(t *testing.T) {
	for given, want := range map[string]string{
		"10.0.0.11": "10.0.0.11:7611", "10.0.0.11:7000": "10.0.0.11:7000", "gateway-1": "gateway-1:7611",
		"fd00::11": "[fd00::11]:7611", "[fd00::11]": "[fd00::11]:7611", "[fd00::11]:7000": "[fd00::11]:7000",
	} {
		if got, err := siteAddress(given); err != nil || got != want {
			t.Errorf("%s: %s, %v", given, got, err)
		}
	}
	for _, bad := range []string{":7611", "a:", "http://a", "a b", "a:1/x"} {
		if got, err := siteAddress(bad); err == nil {
			t.Errorf("%q: %s", bad, got)
		}
	}
}
