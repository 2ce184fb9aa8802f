package status

import (
	"fmt"
	"strings"
	"time"
)

// Site is the site as this gateway sees it, which during a cut is not how
// another sees it.
type Site struct {
	Name    string   `json:"name"`
	ID      string   `json:"id"` // random, made when the site was formed; "" before
	Formed  bool     `json:"formed"`
	Members []Member `json:"members"` // by name; this gateway is one of them
	Quorum  Quorum   `json:"quorum"`

	Parked       Parked   `json:"parked"`        // on this gateway, over all streams
	HealthScore  int      `json:"health_score"`  // of gossip: 0 is well, more means that this gateway is slow to answer
	Conflict     string   `json:"conflict"`      // who belongs to another site and has the same key; "" is nobody
	NameConflict string   `json:"name_conflict"` // who has this gateway's name as well; "" is nobody
	ConfigDiffs  []string `json:"config_diffs"`  // streams that this gateway's file describes otherwise than the site
	ISRChanges   int64    `json:"isr_changes"`   // asked for by this gateway as a leader, since start
	Elections    int64    `json:"elections"`     // won by this gateway, since start
	Parking      Parking  `json:"parking"`

	Scrubbed int64     `json:"scrubbed_bytes"` // of records read only to see whether they can be, since start
	Mended   int64     `json:"mended_records"` // lost by this gateway's flash and given back by another copy, since start
	Mending  []Mending `json:"mending"`        // lost, and not back yet
}

// Mending is a range of records that this gateway's flash lost.
type Mending struct {
	Stream    string   `json:"stream"`
	Partition int32    `json:"partition"`
	First     int64    `json:"first"`
	Last      int64    `json:"last"`
	Seconds   float64  `json:"seconds"`  // for which it has been waited
	Awaits    []string `json:"awaits"`   // gateways that may have them, and don't answer or can't say now
	Unproven  []string `json:"unproven"` // gateways that sent what nothing here proves to be the same
	Reason    string   `json:"reason"`
}

func (s *Site) awaited() (all []string) {
	for _, m := range s.Mending {
		all = append(all, fmt.Sprintf("%s/%d offsets %d to %d%s", m.Stream, m.Partition, m.First, m.Last, m.why()))
	}
	return all
}

// why says whom it depends on; with nobody else it is this gateway's flash.
func (m *Mending) why() (s string) {
	if len(m.Awaits) > 0 {
		s = ", from " + strings.Join(m.Awaits, " or ")
	}
	if len(m.Unproven) > 0 {
		s += ": what " + strings.Join(m.Unproven, " and ") + " sent can't be proven to be the same"
	}
	if s == "" {
		s = ": " + m.Reason
	}
	return s
}

// What a Member can be, as gossip has it.
const (
	MemberAlive   = "alive"
	MemberSuspect = "suspect" // did not answer; others are asked
	MemberDead    = "dead"
	MemberLeft    = "left"    // said that it stops
	MemberUnknown = "unknown" // registered, and not seen since this gateway started
)

// Member is one gateway of the site. What the site has agreed on (ID to
// Draining, Leads, Replicas) stays empty until it has registered; the rest is
// what the gateway last said of itself.
type Member struct {
	Name        string    `json:"name"`
	Self        bool      `json:"self"`
	ID          int32     `json:"id"`
	Address     string    `json:"address"`
	State       string    `json:"state"`
	Since       time.Time `json:"since,omitzero"` // of State
	Incarnation uint64    `json:"incarnation"`
	Fenced      bool      `json:"fenced"`   // leads nothing, and is in no ISR
	Draining    bool      `json:"draining"` // leads nothing, on an operator's word
	Leads       int       `json:"leads"`    // partitions
	Replicas    int       `json:"replicas"` // partitions that it keeps a copy of

	Zone         string `json:"zone"`
	Version      string `json:"version"`
	Voter        bool   `json:"voter"`
	QuorumLeader bool   `json:"quorum_leader"`
	Uplink       string `json:"uplink"`
	FlashFree    int64  `json:"flash_free_bytes"`
	FlashLatched bool   `json:"flash_latched"`
}

// Quorum is how the gateways agree.
type Quorum struct {
	Leader    string   `json:"leader"` // "" when there is none that this gateway knows of
	Term      uint64   `json:"term"`
	Voters    []string `json:"voters"`
	Self      string   `json:"self"`              // leader, voter, nonvoter
	HasQuorum bool     `json:"has_quorum"`        // a majority of the voters is in touch
	Removed   bool     `json:"removed,omitempty"` // the site has this gateway no more
}

// Replication is who keeps a partition; all empty for a gateway on its own.
type Replication struct {
	Role            string     `json:"role,omitempty"`   // leader, follower; "" keeps no copy, and its offsets are not known here
	Leader          string     `json:"leader,omitempty"` // "" when nobody leads
	LeaderEpoch     int32      `json:"leader_epoch,omitempty"`
	Drainer         string     `json:"drainer,omitempty"` // who sends it upstream: the leader, or who was assigned
	DrainEpoch      int32      `json:"drain_epoch,omitempty"`
	Replicas        []string   `json:"replicas,omitempty"` // the preferred leader first
	ISR             []string   `json:"isr,omitempty"`
	MinInsync       int        `json:"min_insync,omitempty"`
	UnderReplicated bool       `json:"under_replicated,omitempty"` // fewer in sync than replicas
	Followers       []Follower `json:"followers,omitempty"`        // known where Role is leader
	Starved         *Starved   `json:"starved,omitempty"`          // what a follower waits in front of; the same
	Truncated       int64      `json:"records_truncated,omitempty"`
	Unclean         int32      `json:"elections_unclean,omitempty"` // ever; each gave up records
}

// Starved is a range of offsets that no gateway has.
type Starved struct {
	First int64 `json:"first"`
	Last  int64 `json:"last"`
}

// What Role can be.
const (
	RoleLeader   = "leader"
	RoleFollower = "follower"
)

// Follower is how far a copy is behind its leader.
type Follower struct {
	Node     int32   `json:"node"`
	Name     string  `json:"name"`
	Lag      int64   `json:"lag_records"`
	CaughtUp float64 `json:"caught_up_seconds"` // since it had everything; -1 never
}

// Lag returns how far the slowest follower is behind, -1 when this gateway does
// not know.
func (r *Replication) Lag() int64 {
	lag := int64(-1)
	for _, f := range r.Followers {
		lag = max(lag, f.Lag)
	}
	return lag
}

// Parked is what waits on this gateway for leaders that don't take it.
type Parked struct {
	Batches       int64   `json:"batches"`
	Records       int64   `json:"records"`
	Bytes         int64   `json:"bytes"`
	Held          int64   `json:"held_records"`   // among Records: nobody was told yet that they are safe
	OldestSeconds float64 `json:"oldest_seconds"` // -1 when there is nothing
	Reason        string  `json:"reason,omitempty"`
}

// Parking counts what became of batches since start.
type Parking struct {
	Parked     int64 `json:"batches_parked"`
	HandedOver int64 `json:"batches_handed_over"` // parked ones that their leader took
	Resent     int64 `json:"batches_resent"`      // after an error
	Refused    int64 `json:"batches_refused"`
	Confirmed  int64 `json:"records_confirmed"` // while they were only parked
	Lost       int64 `json:"records_lost"`      // parked ones that flash could not give back
	GivenUp    int64 `json:"records_given_up"`  // held by the process before this one, confirmed to nobody
}

// String says how much and why.
func (p Parked) String() string {
	s := fmt.Sprintf("%d records, %d of them held", p.Records, p.Held)
	if p.Reason != "" {
		s += ": " + p.Reason
	}
	return s
}

// Add takes o into the sum p.
func (p *Parked) Add(o Parked) {
	p.Batches += o.Batches
	p.Records += o.Records
	p.Bytes += o.Bytes
	p.Held += o.Held
	p.OldestSeconds = max(p.OldestSeconds, o.OldestSeconds)
	if p.Reason == "" {
		p.Reason = o.Reason
	}
}

// ParkedTotal sums over all streams.
func (d *Document) ParkedTotal() Parked {
	total := Parked{OldestSeconds: -1}
	for _, s := range d.Streams {
		if s.Parked != nil {
			total.Add(*s.Parked)
		}
	}
	return total
}

// Member returns the member of that name, nil when there is none.
func (s *Site) Member(name string) *Member {
	for i := range s.Members {
		if s.Members[i].Name == name {
			return &s.Members[i]
		}
	}
	return nil
}

// Self returns this gateway among the members, nil before it knows the site.
func (s *Site) Self() *Member {
	for i := range s.Members {
		if s.Members[i].Self {
			return &s.Members[i]
		}
	}
	return nil
}
