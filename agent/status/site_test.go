package status

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// siteDocument is gateway a of a site of three, of which c is dead.
func siteDocument() *Document {
	return &Document{
		Gateway: Gateway{Name: "a", Site: "plant-7"},
		Streams: []Stream{{
			Name: "mqtt", Parked: &Parked{OldestSeconds: -1},
			Partitions: []Partition{
				{Partition: 0, Replication: Replication{Role: RoleLeader, Leader: "a", LeaderEpoch: 4, Replicas: []string{"a", "b", "c"}, ISR: []string{"a", "b"},
					MinInsync: 2, UnderReplicated: true, Followers: []Follower{{2, "b", 0, 0.1}, {3, "c", 17, -1}}}},
				{Partition: 1, Replication: Replication{Leader: "b", Replicas: []string{"b"}, ISR: []string{"b"}}},
			},
		}},
		Site: &Site{
			Name: "plant-7", ID: "x", Formed: true, HealthScore: 2, Elections: 5, ISRChanges: 3, Parking: Parking{HandedOver: 9}, Mended: 12, Scrubbed: 9999,
			Members: []Member{{Name: "a", Self: true, State: MemberAlive}, {Name: "b", State: MemberAlive}, {Name: "c", State: MemberDead, Fenced: true}},
			Quorum:  Quorum{Leader: "a", Term: 7, Voters: []string{"a", "b", "c"}, HasQuorum: true},
		},
	}
}

func codes(h *Health) []Code {
	var all []Code
	for _, a := range h.Active() {
		all = append(all, a.Code)
	}
	return all
}

func TestSiteJudge(t *testing.T) {
	now := time.Unix(1000, 0)
	var h Health
	j := &SiteJudge{Now: func() time.Time { return now }}
	j.Judge(&h, &Document{Streams: []Stream{{Partitions: []Partition{{}}}}})
	if got := codes(&h); got != nil {
		t.Fatalf("on its own: %v", got)
	}
	d := siteDocument() // changed step by step
	for _, step := range []struct {
		name   string
		change func(d *Document)
		want   []Code
		detail string
	}{
		{"under-replicated", func(d *Document) { d.Site.Mended = 0 }, []Code{UnderReplicated}, "mqtt/0"},
		{"well", func(d *Document) { d.Streams[0].Partitions[0].UnderReplicated = false }, nil, ""},
		{"starved", func(d *Document) { d.Streams[0].Partitions[0].Starved = &Starved{70, 79} }, []Code{CopyStarved}, "mqtt/0 offsets 70 to 79"},
		{"starved no more", func(d *Document) { d.Streams[0].Partitions[0].Starved = nil }, nil, ""},
		{"mended", func(d *Document) { d.Site.Mended = 12 }, []Code{RecordsMended}, "12 records since the start"},
		{"mending", func(d *Document) {
			d.Site.Mended = 0
			d.Site.Mending = []Mending{{Stream: "mqtt", First: 20, Last: 29, Awaits: []string{"b", "c"}}}
		}, []Code{MendingWaits}, "mqtt/0 offsets 20 to 29, from b or c"},
		{"no more", func(d *Document) { d.Site.Mending = nil }, nil, ""},
		{"parked", func(d *Document) { d.Streams[0].Parked = &Parked{Records: 5, Held: 2} }, []Code{RecordsParked}, "5 records, 2 of them held"},
		{"parked no more", func(d *Document) { d.Streams[0].Parked = &Parked{OldestSeconds: -1} }, nil, ""},
		{"a quorum election", func(d *Document) { d.Site.Quorum.HasQuorum = false }, nil, ""},
		{"no quorum", func(d *Document) { now = now.Add(electionGrace) }, []Code{SiteNoQuorum}, "in touch: a, b; voters: a, b, c"},
		{"it was removed", func(d *Document) { d.Site.Quorum.Removed = true }, []Code{GatewayRemoved}, ""},
		{"forming", func(d *Document) { d.Site.Formed, d.Site.Quorum.Removed = false, false }, []Code{SiteForming}, "2 gateways are in touch"},
		{"fenced and draining", func(d *Document) {
			d.Site.Formed, d.Site.Quorum.HasQuorum = true, true
			d.Site.Members[0].Fenced, d.Site.Members[0].Draining = true, true
		}, []Code{GatewayDraining}, ""},
		{"fenced for long", func(*Document) { now = now.Add(electionGrace) }, []Code{GatewayFenced, GatewayDraining}, ""},
		{"conflicts", func(d *Document) {
			d.Site.Members[0].Fenced, d.Site.Members[0].Draining = false, false
			d.Site.Conflict, d.Site.NameConflict = "d of site y", "10.0.0.9"
		}, []Code{NameConflict, SiteConflict}, "10.0.0.9"},
		{"config", func(d *Document) {
			d.Site.Conflict, d.Site.NameConflict = "", ""
			d.Site.ConfigDiffs = []string{"1", "2", "3", "4", "5", "6", "7"}
		}, []Code{ConfigDiffers}, "1, 2, 3, 4, 5 and 2 more"},
		{"lost", func(d *Document) { d.Site.ConfigDiffs, d.Site.Parking.Lost = nil, 3 }, []Code{ParkedLost}, "3 records since the start"},
		{"an election", func(d *Document) { d.Site.Parking.Lost, d.Streams[0].Partitions[1].Leader = 0, "" }, nil, ""},
		{"that does not end", func(*Document) { now = now.Add(electionGrace) }, []Code{PartitionLeaderless}, "mqtt/1"},
		{"is over", func(d *Document) { d.Streams[0].Partitions[1].Leader = "a" }, nil, ""},
		{"the next", func(d *Document) { d.Streams[0].Partitions[1].Leader = "" }, nil, ""},
		{"an unclean one", func(d *Document) { d.Streams[0].Partitions[1].Leader, d.Streams[0].Partitions[1].Unclean = "c", 1 }, []Code{RecordsGivenUp}, "1 unclean elections ever"},
		{"long ago", func(*Document) { now = now.Add(uncleanLasts) }, nil, ""},
	} {
		step.change(d)
		j.Judge(&h, d)
		if got := codes(&h); !slices.Equal(got, step.want) {
			t.Fatalf("%s: %v, want %v", step.name, got, step.want)
		}
		if len(step.want) > 0 && h.Active()[0].Detail != step.detail {
			t.Errorf("%s: %q", step.name, h.Active()[0].Detail)
		}
	}
}

func TestSiteMetrics(t *testing.T) {
	var b bytes.Buffer
	d := siteDocument()
	d.Streams[0].Parked = &Parked{2, 30, 4000, 7, 1.5, ""}
	if err := WriteMetrics(&b, d); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`cistern_site_members{state="alive"} 2`, `cistern_site_members{state="dead"} 1`, `cistern_site_members{state="suspect"} 0`,
		`cistern_site_quorum 1`, `cistern_site_quorum_term 7`, `cistern_site_fenced 0`, `cistern_gossip_health_score 2`,
		`cistern_isr_changes_total 3`, `cistern_elections_total 5`, `cistern_scrubbed_bytes_total 9999`, `cistern_mended_records_total 12`, `cistern_mending_ranges 0`, `cistern_batches_handed_over_total 9`,
		`cistern_partition_leader{stream="mqtt",partition="0"} 1`, `cistern_partition_leader{stream="mqtt",partition="1"} 0`,
		`cistern_partition_leader_epoch{stream="mqtt",partition="0"} 4`, `cistern_partition_leaderless{stream="mqtt",partition="1"} 0`,
		`cistern_partition_replicas{stream="mqtt",partition="0"} 3`, `cistern_partition_isr{stream="mqtt",partition="0"} 2`,
		`cistern_partition_under_replicated{stream="mqtt",partition="0"} 1`, `cistern_follower_lag_records{stream="mqtt",partition="0",follower="c"} 17`,
		`cistern_parked_batches{stream="mqtt"} 2`, `cistern_parked_records{stream="mqtt"} 30`, `cistern_parked_bytes{stream="mqtt"} 4000`,
		`cistern_parked_held_records{stream="mqtt"} 7`, `cistern_parked_oldest_seconds{stream="mqtt"} 1.5`,
	} {
		if !strings.Contains(b.String(), line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	b.Reset()
	if err := WriteMetrics(&b, &example().doc); err != nil || strings.Contains(b.String(), "\ncistern_partition_leader{") || strings.Contains(b.String(), "\ncistern_site_") {
		t.Errorf("a gateway on its own has metrics of a site: %v", err)
	}
}

// What the command line reads is what the agent wrote.
func TestSiteJSON(t *testing.T) {
	d := siteDocument()
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	got := new(Document)
	if err := json.Unmarshal(b, got); err != nil || !reflect.DeepEqual(got, d) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, d)
	}
	if b, err = json.Marshal(Partition{}); err != nil || strings.Contains(string(b), "leader") || strings.Contains(string(b), "isr") {
		t.Errorf("a gateway on its own says %s, %v", b, err)
	}
}

func TestSiteHelpers(t *testing.T) {
	d := siteDocument()
	if m := d.Site.Self(); m == nil || m.Name != "a" {
		t.Errorf("self: %+v", m)
	}
	if d.Site.Member("c").State != MemberDead || d.Site.Member("x") != nil {
		t.Error("the wrong member")
	}
	if lag := d.Streams[0].Partitions[0].Lag(); lag != 17 {
		t.Errorf("lag %d", lag)
	}
	if lag := d.Streams[0].Partitions[1].Lag(); lag != -1 {
		t.Errorf("lag %d where nobody knows", lag)
	}
	d.Streams = append(d.Streams, Stream{Parked: &Parked{1, 2, 3, 4, 5, ""}}, Stream{Parked: &Parked{1, 2, 3, 4, 6, "no leader"}}, Stream{})
	if got := d.ParkedTotal(); got != (Parked{2, 4, 6, 8, 6, "no leader"}) {
		t.Errorf("parked: %+v", got)
	}
}
