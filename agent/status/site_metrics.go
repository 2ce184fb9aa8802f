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
	{"cistern_isr_changes_total", "counter", "Changes of an ISR that this gateway asked for as a leader.",
		perSite(func(s *Site) float64 { return float64(s.ISRChanges) })},
	{"cistern_elections_total", "counter", "Partitions that this gateway became the leader of.",
		perSite(func(s *Site) float64 { return float64(s.Elections) })},
	{"cistern_mended_records_total", "counter", "Records that flash lost here and another gateway's copy gave back.",
		perSite(func(s *Site) float64 { return float64(s.Mended) })},
	{"cistern_scrubbed_bytes_total", "counter", "Bytes of records that were read only to see whether they can be.",
		perSite(func(s *Site) float64 { return float64(s.Scrubbed) })},
	{"cistern_mending_ranges", "gauge", "Ranges of records that flash lost here and that are not back yet.",
		perSite(func(s *Site) float64 { return float64(len(s.Mending)) })},
	{"cistern_batches_parked_total", "counter", "Batches that waited on this gateway's flash for their leader.",
		perSite(func(s *Site) float64 { return float64(s.Parking.Parked) })},
	{"cistern_batches_handed_over_total", "counter", "Parked batches that their leader has taken.",
		perSite(func(s *Site) float64 { return float64(s.Parking.HandedOver) })},
	{"cistern_batches_resent_total", "counter", "Batches that were sent to a leader again after an error.",
		perSite(func(s *Site) float64 { return float64(s.Parking.Resent) })},
	{"cistern_parked_lost_records_total", "counter", "Parked records that flash could not give back.",
		perSite(func(s *Site) float64 { return float64(s.Parking.Lost) })},
	{"cistern_partition_unclean_elections_total", "counter", "Elections that gave up records of the partition, ever.",
		perReplicated(func(r *Replication) float64 { return float64(r.Unclean) })},
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
