package status

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// electionGrace is what an election may take, of a partition's leader or of
	// the quorum's, before it is a warning: one that comes with every restart
	// would be silenced soon.
	electionGrace = 10 * time.Second
	// uncleanLasts is how long records that were given up stay a warning.
	uncleanLasts = 24 * time.Hour
	namesMax     = 5 // in a warning's detail
)

// SiteJudge sets and clears the warnings about a site. The zero value is ready;
// it may be used from anywhere.
type SiteJudge struct {
	Now func() time.Time // nil: time.Now

	mu      sync.Mutex
	lasting map[string]time.Time // what an election ends → since when it has been so
	known   bool
	unclean int64 // elections, when they were last counted
	grown   time.Time
}

// Judge sets and clears what d shows the need for.
func (j *SiteJudge) Judge(h *Health, d *Document) {
	s := d.Site
	if s == nil {
		return
	}
	self := s.Self()
	h.Update(SiteForming, !s.Formed, "%d gateways are in touch", len(s.alive()))
	h.Update(SiteNoQuorum, j.lasts("quorum", s.Formed && !s.Quorum.HasQuorum && !s.Quorum.Removed), "in touch: %s; voters: %s", list(s.alive()), list(s.Quorum.Voters))
	h.Update(GatewayRemoved, s.Quorum.Removed, "")
	h.Update(SiteConflict, s.Conflict != "", "%s", s.Conflict)
	h.Update(NameConflict, s.NameConflict != "", "%s", s.NameConflict)
	h.Update(GatewayFenced, j.lasts("fenced", self != nil && self.Fenced), "")
	h.Update(GatewayDraining, self != nil && self.Draining, "")
	h.Update(ConfigDiffers, len(s.ConfigDiffs) > 0, "%s", list(s.ConfigDiffs))
	p := d.ParkedTotal()
	h.Update(RecordsParked, p.Records > 0, "%s", p)
	h.Update(MendingWaits, len(s.Mending) > 0, "%s", list(s.awaited()))
	h.Update(RecordsMended, s.Mended > 0, "%d records since the start", s.Mended)
	h.Update(ParkedLost, s.Parking.Lost > 0, "%d records since the start", s.Parking.Lost)
	j.partitions(h, d)
}

func (j *SiteJudge) partitions(h *Health, d *Document) {
	var under, without, starved []string
	unclean := int64(0)
	for _, s := range d.Streams {
		for i := range s.Partitions {
			p := &s.Partitions[i]
			name := fmt.Sprintf("%s/%d", s.Name, p.Partition)
			unclean += int64(p.Unclean)
			if p.UnderReplicated {
				under = append(under, name)
			}
			if s := p.Starved; s != nil {
				starved = append(starved, fmt.Sprintf("%s offsets %d to %d", name, s.First, s.Last))
			}
			if j.lasts("leader of "+name, p.Leader == "") {
				without = append(without, name)
			}
		}
	}
	h.Update(UnderReplicated, len(under) > 0, "%s", list(under))
	h.Update(CopyStarved, len(starved) > 0, "%s", list(starved))
	h.Update(PartitionLeaderless, len(without) > 0, "%s", list(without))
	h.Update(RecordsGivenUp, j.grew(unclean), "%d unclean elections ever", unclean)
}

// lasts says whether something has been so for longer than an election takes.
func (j *SiteJudge) lasts(what string, holds bool) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !holds {
		delete(j.lasting, what)
		return false
	}
	if j.lasting == nil {
		j.lasting = map[string]time.Time{}
	}
	now := j.now()
	since, ok := j.lasting[what]
	if !ok {
		since, j.lasting[what] = now, now
	}
	return now.Sub(since) >= electionGrace
}

// grew says whether there was an unclean election lately. What was counted
// before the start was told by the run before.
func (j *SiteJudge) grew(unclean int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.now()
	if j.known && unclean > j.unclean {
		j.grown = now
	}
	j.known, j.unclean = true, unclean
	return !j.grown.IsZero() && now.Sub(j.grown) < uncleanLasts
}

func (j *SiteJudge) now() time.Time {
	if j.Now == nil {
		return time.Now()
	}
	return j.Now()
}

// HasUplink reports whether the uplink of any gateway that is alive works: it
// drains for the others what it keeps a copy of.
func (s *Site) HasUplink() bool {
	return slices.ContainsFunc(s.Members, func(m Member) bool { return m.State == MemberAlive && m.Uplink == "up" })
}

func (s *Site) alive() []string {
	var names []string
	for _, m := range s.Members {
		if m.State == MemberAlive {
			names = append(names, m.Name)
		}
	}
	return names
}

// list names the first few.
func list(names []string) string {
	switch n := len(names); {
	case n == 0:
		return "none"
	case n > namesMax:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:namesMax], ", "), n-namesMax)
	}
	return strings.Join(names, ", ")
}
