package status

import "strconv"

// siteFamilies are the metrics of a site; a gateway on its own has no values
// for them.
var siteFamilies = []metric{
	{"cistern_site_members", "gauge", "Gateways of the site by what this one believes of them.", memberValues},
	{"cistern_site_quorum", "gauge", "1 while a majority of the site's voters is in touch.",
		perSite(func(s *Site) float64 { return truth(s.Quorum.HasQuorum) })},
	{"cistern_site_quorum_term", "gauge", "Raft's term; it rises with every election of a controller.",
		perSite(func(s *Site) float64 { return float64(s.Quorum.Term) })},
	{"cistern_site_fenced", "gauge", "1 while the site takes this gateway for dead.",
		perSite(func(s *Site) float64 { m := s.Self(); return truth(m != nil && m.Fenced) })},
	{"cistern_gossip_health_score", "gauge", "0 while this gateway answers in time; more the slower it is.",
		perSite(func(s *Site) float64 { return float64(s.HealthScore) })},
	{"cistern_isr_changes_total", "counter", "Copies that left the ISR of their partition or came back.",
		func(d *Document, put func(float64, ...string)) {
			if d.Site != nil {
				put(float64(d.Site.ISRShrinks), "change", "shrink")
				put(float64(d.Site.ISRExpands), "change", "expand")
			}
		}},
	{"cistern_elections_total", "counter", "Partitions that got another leader; unclean ones gave up records.",
		func(d *Document, put func(float64, ...string)) {
			if d.Site != nil {
				put(float64(d.Site.Elections-d.Site.Unclean), "unclean", "false")
				put(float64(d.Site.Unclean), "unclean", "true")
			}
		}},
	{"cistern_partition_leader", "gauge", "1 where this gateway leads.",
		perReplicated(func(r *Replication) float64 { return truth(r.Role == RoleLeader) })},
	{"cistern_partition_leader_epoch", "gauge", "The leader's epoch; it rises with every change of leader.",
		perReplicated(func(r *Replication) float64 { return float64(r.LeaderEpoch) })},
	{"cistern_partition_leaderless", "gauge", "1 while nobody leads the partition.",
		perReplicated(func(r *Replication) float64 { return truth(r.Leader == "") })},
	{"cistern_partition_replicas", "gauge", "Gateways that keep a copy.",
		perReplicated(func(r *Replication) float64 { return float64(len(r.Replicas)) })},
	{"cistern_partition_isr", "gauge", "Gateways whose copy is in sync.",
		perReplicated(func(r *Replication) float64 { return float64(len(r.ISR)) })},
	{"cistern_partition_under_replicated", "gauge", "1 while fewer copies are in sync than there should be.",
		perReplicated(func(r *Replication) float64 { return truth(r.UnderReplicated) })},
	{"cistern_follower_lag_records", "gauge", "Records that a follower of this gateway does not have yet.", lagValues},
	{"cistern_parked_batches", "gauge", "Batches that wait on this gateway for their leader.",
		perParked(func(p *Parked) float64 { return float64(p.Batches) })},
	{"cistern_parked_records", "gauge", "Records that wait on this gateway for their leader.",
		perParked(func(p *Parked) float64 { return float64(p.Records) })},
	{"cistern_parked_held_records", "gauge", "Parked records whose devices wait for the confirmation.",
		perParked(func(p *Parked) float64 { return float64(p.Held) })},
	{"cistern_parked_bytes", "gauge", "Stored bytes of parked records.",
		perParked(func(p *Parked) float64 { return float64(p.Bytes) })},
	{"cistern_parked_oldest_seconds", "gauge", "Age of the oldest parked record; -1 when there is none.",
		perParked(func(p *Parked) float64 { return p.OldestSeconds })},
}

// perSite is a metric of a site, without labels.
func perSite(get func(s *Site) float64) func(*Document, func(float64, ...string)) {
	return func(d *Document, put func(float64, ...string)) {
		if d.Site != nil {
			put(get(d.Site))
		}
	}
}

// perReplicated is a metric of each partition of a site.
func perReplicated(get func(r *Replication) float64) func(*Document, func(float64, ...string)) {
	all := perPartition(func(p *Partition) float64 { return get(&p.Replication) })
	return func(d *Document, put func(float64, ...string)) {
		if d.Site != nil {
			all(d, put)
		}
	}
}

// perParked is a metric with the label stream.
func perParked(get func(p *Parked) float64) func(*Document, func(float64, ...string)) {
	return func(d *Document, put func(float64, ...string)) {
		for _, s := range d.Streams {
			if s.Parked != nil {
				put(get(s.Parked), "stream", s.Name)
			}
		}
	}
}

func memberValues(d *Document, put func(float64, ...string)) {
	if d.Site == nil {
		return
	}
	count := map[string]int{}
	for _, m := range d.Site.Members {
		count[m.State]++
	}
	for _, state := range []string{MemberAlive, MemberSuspect, MemberDead, MemberLeft, MemberUnknown} {
		put(float64(count[state]), "state", state)
	}
}

func lagValues(d *Document, put func(float64, ...string)) {
	for _, s := range d.Streams {
		for i := range s.Partitions {
			p := &s.Partitions[i]
			for _, f := range p.Followers {
				put(float64(f.Lag), "stream", s.Name, "partition", strconv.Itoa(int(p.Partition)), "follower", f.Name)
			}
		}
	}
}
