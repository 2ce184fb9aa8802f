package quorum

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cistern/gossip"
	"cistern/gossip/metadata"
)

// parse reads gateways written as "name" and marks: v it votes, - dead for an
// hour, ~ suspected, ? not seen by gossip, ! not in the image, + no server,
// 0 without a site, @ at another address, 1 never registered.
func parse(text string) *view {
	v := &view{img: metadata.NewImage(), now: time.Now(), leading: time.Hour, replaceAfter: 15 * time.Minute}
	v.img.Site = "site"
	for i, word := range strings.Fields(text) {
		name, marks := word[:1], word[1:]
		has := func(c string) bool { return strings.Contains(marks, c) }
		if i == 0 {
			v.self = name
		}
		m := gossip.Member{Name: name, Since: v.now.Add(-time.Hour), Meta: gossip.Meta{Address: name, Formed: "site", Incarnation: 1}}
		if has("-") {
			m.State = gossip.Dead
		}
		if has("~") {
			m.State = gossip.Suspect
		}
		if has("0") {
			m.Meta.Formed = ""
		}
		if has("1") || has("0") {
			m.Meta.Incarnation = 0
		}
		if has("@") {
			m.Meta.Address += "'"
		}
		if !has("?") {
			v.members = append(v.members, m)
		}
		if !has("+") {
			v.servers = append(v.servers, Server{name, name, has("v")})
		}
		if !has("!") {
			id := metadata.NodeID(i)
			v.img.Members[id] = metadata.Member{ID: id, Name: name}
		}
	}
	return v
}

func TestServerSteps(t *testing.T) {
	for _, c := range []struct{ what, site, want string }{
		{"alone", "av", ""},
		{"three is well", "av bv cv", ""},
		{"a suspect is alive", "av bv cv~", ""},
		{"a new gateway", "av b!+0", "add b"},
		{"a new one is away", "av b!+0-", ""},
		{"two vote", "av b", "promote b"},
		{"three vote", "av bv c", "promote c"},
		{"but not a dead one", "av bv c-", ""},
		{"a fourth follows", "av bv cv d", ""},
		{"the fifth brings two", "av bv cv d e", "promote d, promote e"},
		{"a sixth follows", "av bv cv dv ev f", ""},
		{"a dead voter is replaced", "av bv cv- d", "demote c"},
		{"and then", "av bv c- d", "promote d"},
		{"not by a dead one", "av bv cv- d-", ""},
		{"one of three is dead", "av bv cv-", ""},
		{"one of five is dead", "av bv cv dv ev-", ""},
		{"two of five are dead", "av bv cv dv- ev-", "demote d"},
		{"and then", "av bv cv d- ev-", "demote e"},
		{"and then", "av bv cv d- e-", ""},
		{"four voters", "av bv cv dv", "demote d"},
		{"the dead one of four", "av bv- cv dv", "demote b"},
		{"never itself", "dv bv cv", ""},
		{"moved", "av bv@ cv", "move b"},
		{"a dead one moves nowhere", "av bv@- cv", ""},
		{"removed by an operator", "av bv cv!", "remove c"},
		{"removed while it was dead", "av bv cv!-", "remove c"},
		{"removed and never seen", "av bv cv!?", "remove c"},
		{"removed stays out", "av bv c!+", ""},
		{"also when it starts again", "av bv c!+1", ""},
		{"until it forgets the site", "av bv c!+0", "add c"},
		{"recovered from a wrong removal", "av bv c+", "add c"},
		{"has not registered yet", "av bv cv!1", ""},
		{"came and went", "av bv c!0-", "remove c"},
	} {
		var got []string
		for _, s := range parse(c.site).steps() {
			got = append(got, fmt.Sprint(s.do, " ", s.server.Name))
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s (%s): %q, want %q", c.what, c.site, got, c.want)
		}
	}
}

func TestConflictKeepsEverybodyOut(t *testing.T) {
	v := parse("av b!+0")
	v.conflict = true
	if s := v.steps(); len(s) > 0 {
		t.Errorf("%v", s)
	}
	v.members = append(v.members, gossip.Member{Name: "z", Meta: gossip.Meta{Formed: "other"}})
	if c := conflictOf("site", v.members); !strings.Contains(c, "other: [z]") || !strings.Contains(c, "site: [a]") {
		t.Errorf("%q", c)
	}
	if c := conflictOf("other", v.members[2:]); c != "" {
		t.Errorf("%q", c)
	}
}

func TestFounders(t *testing.T) {
	member := func(name string, expect int, formed string, s gossip.State) gossip.Member {
		return gossip.Member{Name: name, State: s, Meta: gossip.Meta{Address: name, Expect: expect, Formed: formed}}
	}
	a, b, c, d := member("a", 3, "", gossip.Alive), member("b", 3, "", gossip.Suspect), member("c", 3, "", gossip.Alive), member("d", 3, "", gossip.Alive)
	for _, x := range []struct {
		what    string
		members []gossip.Member
		want    string
	}{
		{"too few", []gossip.Member{a, b}, ""},
		{"enough", []gossip.Member{c, b, a}, "abc"},
		{"more than enough", []gossip.Member{d, c, b, a}, "abc"},
		{"one is dead", []gossip.Member{member("a", 3, "", gossip.Dead), b, c, d}, "bcd"},
		{"another number", []gossip.Member{a, b, member("c", 2, "", gossip.Alive)}, ""},
		{"a site is there", []gossip.Member{a, b, c, member("z", 3, "x", gossip.Dead)}, ""},
	} {
		var got string
		for _, s := range founders(3, x.members) {
			got += s.Name
		}
		if got != x.want {
			t.Errorf("%s: %q, want %q", x.what, got, x.want)
		}
	}
	if founders(0, []gossip.Member{a}) != nil {
		t.Error("a gateway that only joins formed a site")
	}
}

func TestVotersFor(t *testing.T) {
	for n, want := range []int{0, 1, 2, 3, 3, 5, 5, 5, 5} {
		if got := votersFor(n); got != want {
			t.Errorf("%d gateways: %d voters, want %d", n, got, want)
		}
	}
}

// Two sites that form at once have no gateway in common.
func TestPromises(t *testing.T) {
	dir := t.TempDir()
	s := openTestStore(t, dir)
	keeper := func() *promiseKeeper {
		k := new(promiseKeeper)
		if err := k.load(s); err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := keeper()
	if k.with("b") {
		t.Error("a promise from nowhere")
	}
	give := func(by, with string, agreed ...string) error {
		return k.give(&promise{Inviter: by, Members: strings.Split(with, ""), Agreed: agreed})
	}
	for i, step := range []struct {
		by, with string
		agreed   []string
		ok       bool
	}{
		{by: "b", with: "bcd", ok: true},
		{by: "b", with: "bcd", ok: true},
		{by: "a", with: "abd"},
		{by: "a", with: "abd", agreed: []string{"a"}},
		{by: "b", with: "bde", ok: true},                             // it knows that it has not begun
		{by: "a", with: "abd", agreed: []string{"a", "b"}, ok: true}, // b won't any more
		{by: "b", with: "bcd"},
	} {
		if err := give(step.by, step.with, step.agreed...); (err == nil) != step.ok {
			t.Errorf("step %d: %v", i, err)
		}
		k = keeper() // it is durable
	}
	if !k.with("a") || !k.with("b") || k.with("c") {
		t.Errorf("%+v", k.given)
	}
	if !slices.Equal(k.given.Members, []string{"a", "b", "d"}) {
		t.Errorf("%+v", k.given)
	}
}
