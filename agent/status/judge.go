package status

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	// leaderlessGrace is what an election may take before its partition is a
	// warning: a /health that fails at each of them would be silenced soon.
	leaderlessGrace = 10 * time.Second
	// uncleanLasts is how long records that were given up stay a warning.
	uncleanLasts = 24 * time.Hour
	namesMax     = 5 // in a warning's detail
)

// SiteJudge sets and clears the warnings about a site. The zero value is ready;
// it may be used from anywhere.
type SiteJudge struct {
	Now func() time.Time // nil: time.Now

	mu         sync.Mutex
	leaderless map[string]time.Time // partition → since when
	known      bool
	unclean    int64 // elections, when they were last counted
	grown      time.Time
}

// Judge sets and clears what d shows the need for.
func (j *SiteJudge) Judge(h *Health, d *Document) {
	s := d.Site
	if s == nil {
		return
	}
	self := s.Self()
	h.Update(SiteForming, !s.Formed, "%d gateways are in touch", len(s.alive()))
	h.Update(SiteNoQuorum, s.Formed && !s.Quorum.HasQuorum, "in touch: %s; voters: %s", list(s.alive()), list(s.Quorum.Voters))
	h.Update(SiteConflict, s.Conflict != "", "%s", s.Conflict)
	h.Update(NameConflict, s.NameConflict != "", "%s", s.NameConflict)
	h.Update(GatewayFenced, self != nil && self.Fenced, "")
	h.Update(GatewayDraining, self != nil && self.Draining, "")
	h.Update(ConfigDiffers, len(s.ConfigDiffs) > 0, "%s", list(s.ConfigDiffs))
	p := d.ParkedTotal()
	h.Update(RecordsParked, p.Records > 0, "%s", p)
	h.Update(ParkedLost, s.Parking.Lost > 0, "%d records since the start", s.Parking.Lost)
	j.partitions(h, d)
}

func (j *SiteJudge) partitions(h *Health, d *Document) {
	var under, without []string
	unclean := int64(0)
	for _, s := range d.Streams {
		for i := range s.Partitions {
			p := &s.Partitions[i]
			name := fmt.Sprintf("%s/%d", s.Name, p.Partition)
			unclean += int64(p.Unclean)
			if p.UnderReplicated {
				under = append(under, name)
			}
			if p.Leader == "" {
				without = append(without, name)
			}
		}
	}
	h.Update(UnderReplicated, len(under) > 0, "%s", list(under))
	without = j.lasting(without)
	h.Update(PartitionLeaderless, len(without) > 0, "%s", list(without))
	h.Update(RecordsGivenUp, j.grew(unclean), "%d unclean elections ever", unclean)
}

// lasting returns those that have been without a leader for longer than an
// election takes.
func (j *SiteJudge) lasting(without []string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	now, since := j.now(), map[string]time.Time{}
	var long []string
	for _, name := range without {
		begun, ok := j.leaderless[name]
		if !ok {
			begun = now
		}
		since[name] = begun
		if now.Sub(begun) >= leaderlessGrace {
			long = append(long, name)
		}
	}
	j.leaderless = since
	return long
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
