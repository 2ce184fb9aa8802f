package quorum

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"github.com/hashicorp/raft"

	"cistern/gossip"
	"cistern/gossip/metadata"
)

// newSiteID returns a name that no other site has.
func newSiteID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// founders returns who forms a site now, in order of name, nil when nobody
// does: as many as are expected of those that are present, without a site, and
// expect the same; and none that has one.
func founders(expect int, members []gossip.Member) []Server {
	var list []Server
	for _, m := range members {
		switch {
		case m.Meta.Formed != "":
			return nil
		case present(m) && m.Meta.Expect == expect && m.Meta.Address != "":
			list = append(list, Server{Name: m.Name, Address: m.Meta.Address})
		}
	}
	if expect < 1 || len(list) < expect {
		return nil
	}
	slices.SortFunc(list, func(a, b Server) int { return strings.Compare(a.Name, b.Name) })
	list = list[:expect]
	for i := range list {
		list[i].Voter = i < votersFor(expect)
	}
	return list
}

// form makes this gateway the first of a site if it is up to it: the lowest
// name invites the others, and when all have promised it begins with raft. The
// others wait to be contacted.
func (k *Keeper) form(ctx context.Context, members []gossip.Member) {
	q := k.Quorum
	servers := founders(k.Expect, members)
	if len(servers) == 0 || servers[0].Name != q.c.Name || len(servers) > metadata.MembersMax {
		return
	}
	p := promise{Inviter: q.c.Name}
	for _, s := range servers {
		p.Members = append(p.Members, s.Name)
	}
	for _, s := range servers {
		if err := k.invite(ctx, s.Name, p); err != nil {
			k.Logger.Info("a site can't be formed yet", "with", p.Members, "gateway", s.Name, "error", err)
			return
		}
		p.Agreed = append(p.Agreed, s.Name)
	}
	k.Logger.Info("forming a site", "gateways", p.Members)
	if err := q.await(ctx, func() raft.Future { return q.raft.BootstrapCluster(configurationOf(servers)) }); err != nil {
		k.Logger.Error("a site can't be formed", "error", err)
	}
}

func (k *Keeper) invite(ctx context.Context, name string, p promise) error {
	if name == k.Quorum.c.Name {
		return k.Quorum.accept(&p)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	a, err := k.Quorum.client.ask(ctx, name, request{Kind: kindInvite, Invite: &p})
	if err == nil && a.Status != statusOK {
		err = errors.New(a.Detail)
	}
	return err
}

// votersFor returns how many of n gateways vote. An even number bears no more
// failures than the odd one below it, and needs one more answer. Two is the
// exception: with one voter the other would not know what was agreed on when the
// voter's card dies.
func votersFor(n int) int {
	n = min(n, metadata.VotersMax)
	if n > 2 && n%2 == 0 {
		n--
	}
	return n
}
