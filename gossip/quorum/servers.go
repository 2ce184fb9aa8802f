package quorum

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"cistern/gossip"
	"cistern/gossip/metadata"
)

// caughtUp is how far behind the raft leader a gateway may be to get a vote.
const caughtUp = 64

// keepServers forms a site, or on the raft leader brings raft's servers one step
// nearer to what they should be. It is calm when nothing needs another look
// before the next tick or event.
func (k *Keeper) keepServers(ctx context.Context) (calm bool) {
	q, members := k.Quorum, k.Members()
	if !q.Bootstrapped() {
		k.form(ctx, members)
		return true
	}
	img := q.Image()
	leader, self := q.Leader()
	k.askRemoved(ctx, members, leader)
	if !self || img.Site == "" {
		k.serving = time.Time{}
		return true
	}
	if k.serving.IsZero() {
		k.serving = time.Now()
	}
	v := view{self: q.c.Name, servers: q.Servers(), members: members, img: img, now: time.Now(),
		leading: time.Since(k.serving), replaceAfter: k.Policy.ReplaceAfter, conflict: q.conflict.Load() != nil}
	if v.removed(v.self) {
		q.handOver() // the next leader takes this one out
		return true
	}
	for _, s := range v.steps() {
		if (s.do == add || s.do == promote) && !k.fits(ctx, s, img.Site) {
			continue // another may
		}
		if err := q.change(ctx, s); err != nil {
			k.Logger.Warn("raft's servers could not be changed", "step", s.do, "gateway", s.server.Name, "error", err)
			return true
		}
		k.Logger.Info("raft's servers changed", "step", s.do, "gateway", s.server.Name, "address", s.server.Address)
		return false
	}
	return true
}

// fits asks a gateway whether it may be taken in, or given a vote. Whoever comes
// in has nothing of another site: gossip may be behind. Who gets a vote follows
// already: one that can't use it may stop the whole site.
func (k *Keeper) fits(ctx context.Context, s step, site string) bool {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	a, err := k.Quorum.client.ask(ctx, s.server.Name, request{Kind: kindAsk})
	if err != nil || a.Status != statusOK {
		return false
	}
	if s.do == add {
		return a.Site == site || a.Site == "" && a.Last == 0
	}
	return a.Site == site && a.Applied+caughtUp >= k.Quorum.raft.LastIndex()
}

// change makes one step and waits until it is agreed on.
func (q *Quorum) change(ctx context.Context, s step) error {
	return q.await(ctx, func() raft.Future { return q.ask(s) })
}

func (q *Quorum) ask(s step) raft.Future {
	id, addr := raft.ServerID(s.server.Name), raft.ServerAddress(joinPeer(s.server.Name, s.server.Address))
	switch s.do {
	case add, move:
		if s.server.Voter {
			return q.raft.AddVoter(id, addr, 0, proposeTimeout)
		}
		return q.raft.AddNonvoter(id, addr, 0, proposeTimeout)
	case promote:
		return q.raft.AddVoter(id, addr, 0, proposeTimeout)
	case demote:
		return q.raft.DemoteVoter(id, 0, proposeTimeout)
	default:
		return q.raft.RemoveServer(id, 0, proposeTimeout)
	}
}

// action is a change of raft's servers.
type action string

const (
	add     action = "add"
	move    action = "move" // to another address
	promote action = "promote"
	demote  action = "demote"
	remove  action = "remove"
)

type step struct {
	do     action
	server Server
}

// view is all that decides about raft's servers.
type view struct {
	self         string
	servers      []Server
	members      []gossip.Member
	img          *metadata.Image
	now          time.Time
	leading      time.Duration // for how long self has been raft leader
	replaceAfter time.Duration
	conflict     bool // two sites are in sight
}

// steps returns what could be done next, the most wanted first; one of them is
// enough at a time.
func (v *view) steps() []step {
	var list []step
	list = append(list, v.removals()...)
	list = append(list, v.moves()...)
	list = append(list, v.additions()...)
	return append(list, v.votes()...)
}

func (v *view) member(name string) (gossip.Member, bool) {
	i := slices.IndexFunc(v.members, func(m gossip.Member) bool { return m.Name == name })
	if i < 0 {
		return gossip.Member{}, false
	}
	return v.members[i], true
}

func (v *view) isServer(name string) bool {
	return slices.ContainsFunc(v.servers, func(s Server) bool { return s.Name == name })
}

// removals: a server that has been registered and is no member (any more) was
// removed by an operator. One that is gone for long and never registered came
// and went.
func (v *view) removals() (list []step) {
	for _, s := range v.servers {
		if _, ok := v.img.Member(s.Name); ok || s.Name == v.self {
			continue
		}
		if _, seen := v.member(s.Name); v.removed(s.Name) || !seen && v.leading > unseenGrace || v.deadFor(s.Name) > v.replaceAfter {
			list = append(list, step{remove, s})
		}
	}
	return list
}

// removed reports that a gateway is no member though it has been one.
func (v *view) removed(name string) bool {
	_, is := v.img.Member(name)
	m, seen := v.member(name)
	return !is && seen && m.Meta.Formed == v.img.Site && m.Meta.Incarnation > 0
}

// moves: a gateway that came back under another address.
func (v *view) moves() (list []step) {
	for _, s := range v.servers {
		if m, ok := v.member(s.Name); ok && present(m) && m.Meta.Address != "" && m.Meta.Address != s.Address {
			s.Address = m.Meta.Address
			list = append(list, step{move, s})
		}
	}
	return list
}

// additions: who is here and takes no part yet. A gateway that knows this site
// but is no member of it was removed; it comes in again when it has forgotten
// the site.
func (v *view) additions() (list []step) {
	if v.conflict || len(v.servers) >= metadata.MembersMax {
		return nil
	}
	for _, m := range v.members {
		if v.isServer(m.Name) || !present(m) || m.Meta.Address == "" {
			continue
		}
		_, known := v.img.Member(m.Name)
		if m.Meta.Formed == "" || m.Meta.Formed == v.img.Site && known {
			list = append(list, step{add, Server{Name: m.Name, Address: m.Meta.Address}})
		}
	}
	return list
}

// votes keeps votersFor(servers) voters, live ones where there are any.
func (v *view) votes() (list []step) {
	var voters, dead, spare []Server
	for _, s := range v.servers {
		m, ok := v.member(s.Name)
		switch {
		case s.Voter && v.deadFor(s.Name) > v.replaceAfter && s.Name != v.self:
			voters, dead = append(voters, s), append(dead, s)
		case s.Voter:
			voters = append(voters, s)
		case ok && present(m):
			spare = append(spare, s)
		}
	}
	want := votersFor(len(v.servers))
	switch {
	case len(voters) > want:
		return []step{{demote, v.leastWanted(voters, dead)}}
	case len(voters) < want && len(spare) > 0:
		for _, s := range spare {
			list = append(list, step{promote, s})
		}
	case len(dead) > 0 && len(spare) > 0,
		// Without them fewer votes are needed: 2 of 3 in place of 3 of 5.
		len(voters) == 4 && len(dead) > 0, len(voters) == 5 && len(dead) > 1:
		return []step{{demote, dead[0]}}
	}
	return list
}

func (v *view) leastWanted(voters, dead []Server) Server {
	if len(dead) > 0 {
		return dead[0]
	}
	last := voters[len(voters)-1]
	if last.Name == v.self {
		last = voters[len(voters)-2]
	}
	return last
}

// deadFor returns how long gossip has missed a gateway, 0 when it is present or
// was never seen.
func (v *view) deadFor(name string) time.Duration {
	m, ok := v.member(name)
	if !ok || present(m) {
		return 0
	}
	return v.now.Sub(m.Since)
}
