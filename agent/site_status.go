package agent

import (
	"cmp"
	"fmt"
	"slices"

	"cistern/agent/status"
	"cistern/gossip"
	"cistern/gossip/controller"
	"cistern/gossip/metadata"
	"cistern/gossip/quorum"
	"cistern/segstore/forward"
	"cistern/segstore/replica"
)

// streams are those that the site has agreed on, by name.
func (s *site) streams() (all []metadata.StreamConfig) {
	for _, st := range s.image().Streams {
		all = append(all, st.Config)
	}
	slices.SortFunc(all, func(a, b metadata.StreamConfig) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// describe adds to a status what there is to say of the site, f of what is parked.
func (s *site) describe(d *status.Document, f forward.Status) {
	image := s.image()
	q := s.quorum.Status()
	stats := s.replicas.Stats()
	d.Site = &status.Site{
		Name: s.a.config.Gateway.Site, ID: image.Site, Formed: image.Site != "",
		Quorum:      quorumStatus(q),
		HealthScore: s.gossip.HealthScore(), Conflict: q.Conflict, NameConflict: s.namesake(),
		ConfigDiffs: s.differing(), ISRChanges: stats.ISRChanges, Elections: stats.Elections,
		Parking: parking(f), Mended: stats.Mended, Mending: s.mending(image), Scrubbed: stats.Scrubbed,
	}
	d.Site.Quorum.Removed = s.isRemoved()
	d.Site.Members = s.members(image, d.Site.Quorum)
	s.describeParked(d, f.Partitions)
	s.describePartitions(d, image)
	d.Site.Parked = d.ParkedTotal()
}

// mending are the ranges that flash lost here and that could not be had at once.
func (s *site) mending(image *metadata.Image) []status.Mending {
	all := []status.Mending{}
	for _, r := range s.replicas.Mends() {
		if r.Reason == "" {
			continue // it is being asked for
		}
		m := status.Mending{Stream: r.Partition.Stream, Partition: r.Partition.Partition, First: r.First, Last: r.Last,
			Seconds: s.replicas.Since(r.Since).Seconds(), Awaits: []string{}, Unproven: []string{}, Reason: oneLine(r.Reason)}
		for _, n := range r.Awaits {
			m.Awaits = append(m.Awaits, nodeName(image, n))
		}
		for _, n := range r.Unproven {
			m.Unproven = append(m.Unproven, nodeName(image, n))
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b status.Mending) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.First, b.First))
	})
	return all
}

// parking counts what became of batches that their leaders did not take at once.
func parking(f forward.Status) status.Parking {
	c := f.Counts
	return status.Parking{Parked: c.Parked, HandedOver: c.HandedOver, Resent: c.Resent, Refused: c.Refused,
		Confirmed: c.Confirmed, Lost: c.Lost, GivenUp: f.GivenUp}
}

// quorumStatus says in the words of a status how the gateways agree. A leader
// that is known has heard from a majority within its lease, or will step down.
func quorumStatus(q quorum.Status) status.Quorum {
	out := status.Quorum{Leader: q.Leader, Term: q.Term, Voters: []string{}, Self: "nonvoter", HasQuorum: q.Leader != ""}
	for _, v := range q.Servers {
		if v.Voter {
			out.Voters = append(out.Voters, v.Name)
		}
	}
	switch {
	case q.State == "leader":
		out.Self = q.State
	case q.Voter:
		out.Self = "voter"
	}
	return out
}

// namesake says who else claims this gateway's name, "" when nobody does.
func (s *site) namesake() string {
	for _, c := range s.gossip.Conflicts() {
		if c.Name == s.a.config.Gateway.Name {
			return fmt.Sprintf("%s and %s both say they are %s", c.Addr, c.Other, c.Name)
		}
	}
	return ""
}

// members joins what gossip sees with what the site has agreed on.
func (s *site) members(image *metadata.Image, q status.Quorum) []status.Member {
	byName := map[string]*status.Member{}
	for _, m := range image.Members {
		byName[m.Name] = &status.Member{Name: m.Name, ID: int32(m.ID), Address: m.Address, State: status.MemberUnknown, Incarnation: m.Incarnation,
			Fenced: m.Fenced, Draining: m.Draining, Zone: m.Zone, Version: m.Version}
	}
	for _, g := range s.gossip.Members() {
		m := byName[g.Name]
		if m == nil {
			m = &status.Member{Name: g.Name}
			byName[g.Name] = m
		}
		m.State, m.Since, m.Address = stateWords[g.State], g.Since, g.Meta.Address
		m.Zone, m.Version, m.Uplink, m.FlashFree, m.FlashLatched = g.Meta.Zone, g.Meta.Version, g.Meta.Uplink, g.Meta.FlashFree, g.Meta.FlashLatched
	}
	leads, keeps := holdings(image)
	all := make([]status.Member, 0, len(byName))
	for _, m := range byName {
		m.Self = m.Name == s.a.config.Gateway.Name
		m.Voter, m.QuorumLeader = slices.Contains(q.Voters, m.Name), m.Name == q.Leader
		if m.ID != 0 {
			m.Leads, m.Replicas = leads[metadata.NodeID(m.ID)], keeps[metadata.NodeID(m.ID)]
		}
		all = append(all, *m)
	}
	slices.SortFunc(all, func(a, b status.Member) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

var stateWords = map[gossip.State]string{
	gossip.Alive: status.MemberAlive, gossip.Suspect: status.MemberSuspect, gossip.Dead: status.MemberDead, gossip.Left: status.MemberLeft,
}

// holdings counts for each gateway the partitions it leads, and those it keeps.
func holdings(image *metadata.Image) (leads, keeps map[metadata.NodeID]int) {
	leads, keeps = map[metadata.NodeID]int{}, map[metadata.NodeID]int{}
	for _, st := range image.Streams {
		for i := range st.Partitions {
			leads[st.Partitions[i].Leader]++
			for _, n := range st.Partitions[i].Replicas {
				keeps[n]++
			}
		}
	}
	return leads, keeps
}

// describeParked adds what is parked here.
func (s *site) describeParked(d *status.Document, parked []forward.PartitionStatus) {
	for i := range d.Streams {
		sum := &status.Parked{OldestSeconds: -1}
		for _, p := range parked {
			if p.Partition.Stream != d.Streams[i].Name {
				continue
			}
			sum.Add(status.Parked{Records: p.Parked, Held: p.Held, OldestSeconds: -1, Reason: oneLine(p.Cause)})
		}
		d.Streams[i].Parked = sum
	}
}

// describePartitions adds who keeps each partition.
func (s *site) describePartitions(d *status.Document, image *metadata.Image) {
	views := map[metadata.PartitionID]replica.View{}
	for _, v := range s.replicas.Views() {
		views[v.Partition] = v
	}
	names := func(nodes []metadata.NodeID) (out []string) {
		for _, n := range nodes {
			out = append(out, nodeName(image, n))
		}
		return out
	}
	for i := range d.Streams {
		stream := &d.Streams[i]
		for k := range stream.Partitions {
			p := &stream.Partitions[k]
			id := metadata.PartitionID{Stream: stream.Name, Partition: p.Partition}
			state := image.Partition(id)
			if state == nil {
				continue
			}
			r := &p.Replication
			r.LeaderEpoch, r.Replicas, r.ISR, r.Unclean = state.LeaderEpoch, names(state.Replicas), names(state.ISR), state.Unclean
			r.MinInsync = controller.MinInsync(image.Streams[stream.Name].Config, state.Settled())
			r.UnderReplicated = len(state.ISR) < len(state.Replicas)
			if state.Leader != metadata.NoNode {
				r.Leader = nodeName(image, state.Leader)
			}
			if by, _, epoch := image.Drainer(id); by != metadata.NoNode {
				r.Drainer, r.DrainEpoch = nodeName(image, by), epoch
			}
			if v, ok := views[id]; ok {
				s.describeView(r, &v, image)
				if v.Broken != "" {
					p.Error = v.Broken
				}
			}
		}
	}
}

func (s *site) describeView(r *status.Replication, v *replica.View, image *metadata.Image) {
	switch v.Role {
	case replica.RoleLeader:
		r.Role = status.RoleLeader
	case replica.RoleFollower:
		r.Role = status.RoleFollower
	}
	r.Truncated = v.Truncated
	if s := v.Starved; s != nil {
		r.Starved = &status.Starved{First: s.First, Last: s.Last}
	}
	for _, f := range v.Followers {
		one := status.Follower{Node: int32(f.Node), Name: nodeName(image, f.Node), Lag: f.Lag, CaughtUp: -1}
		if f.CaughtUp > 0 {
			one.CaughtUp = max(0, s.replicas.Since(f.CaughtUp).Seconds())
		}
		r.Followers = append(r.Followers, one)
	}
}

func nodeName(image *metadata.Image, n metadata.NodeID) string {
	if m, ok := image.Members[n]; ok {
		return m.Name
	}
	return "removed"
}

// reader names the gateway that reads an external broker, "" when none does.
func (s *site) reader(url string) string {
	image := s.quorum.Image()
	if n, ok := image.Sources[url]; ok {
		return nodeName(image, n)
	}
	return ""
}
