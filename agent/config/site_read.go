package config

import (
	"net"
	"reflect"
	"strings"
	"time"

	"cistern/gossip/metadata"
	"cistern/gossip/sitekey"
)

const (
	weightMax        = 1000
	suspicionMultMax = 100
	timingMax        = time.Minute
)

func readSite(t *table, s *Site) {
	t.text("key_file", &s.KeyFile)
	t.inlineSecret("key")
	t.text("gossip", &s.Gossip)
	t.text("listen", &s.Listen)
	t.text("advertise", &s.Advertise)
	t.texts("join", &s.Join)
	t.flag("mdns", &s.MDNS)
	t.text("zone", &s.Zone)
	t.integer("weight", &s.Weight, 1, weightMax)
	t.integer("bootstrap_expect", &s.BootstrapExpect, 1, metadata.MembersMax)
	t.text("profile", &s.Profile, ProfileAuto, ProfileWired, ProfileWiFi)
	t.duration("replace_after", &s.ReplaceAfter, time.Minute, 30*day)
	t.duration("rebalance_after", &s.RebalanceAfter, 10*time.Second, day)
	t.duration("replica_lag_max", &s.ReplicaLagMax, 100*time.Millisecond, time.Minute)
	t.durationOrAuto("park_after", &s.ParkAfter, 10*time.Millisecond, time.Minute)
	readTiming(t.table("timing"), &s.Timing)
	t.done()
	checkSite(t, s)
}

func readTiming(t *table, m *Timing) {
	t.duration("probe_interval", &m.ProbeInterval, 0, timingMax)
	t.duration("probe_timeout", &m.ProbeTimeout, 0, timingMax)
	t.integer("suspicion_mult", &m.SuspicionMult, 0, suspicionMultMax)
	t.integer("suspicion_max_mult", &m.SuspicionMaxMult, 0, suspicionMultMax)
	t.duration("gossip_interval", &m.GossipInterval, 0, timingMax)
	t.duration("raft_heartbeat", &m.RaftHeartbeat, 0, timingMax)
	t.duration("raft_election", &m.RaftElection, 0, timingMax)
	t.duration("raft_lease", &m.RaftLease, 0, timingMax)
	t.duration("drain_after", &m.DrainAfter, 0, day)
	t.duration("drain_back_after", &m.DrainBackAfter, 0, day)
	for _, short := range []struct {
		key, than  string
		this, long time.Duration
	}{
		{"probe_timeout", "probe_interval", m.ProbeTimeout, m.ProbeInterval},
		{"raft_heartbeat", "raft_election", m.RaftHeartbeat, m.RaftElection},
		{"raft_lease", "raft_heartbeat", m.RaftLease, m.RaftHeartbeat},
	} {
		if short.long > 0 && short.this > short.long {
			t.fail(short.key, "", "is %s; at most %s is allowed, which is %s", FormatDuration(short.this), FormatDuration(short.long), short.than)
		}
	}
	t.done()
}

func checkSite(t *table, s *Site) {
	if s.KeyFile == "" {
		// Somebody who says where others are wants a site, and must not get
		// gateways that each keep a single copy without a word.
		alone := defaultSite()
		if !t.has("key_file") && len(t.values) > 0 || !reflect.DeepEqual(*s, alone) {
			t.doc.fail(t.path, "make a key with `cistern site init`, and name it on every gateway with key_file", "a site needs a key")
		}
		return
	}
	for _, a := range []struct{ key, address string }{{"gossip", s.Gossip}, {"listen", s.Listen}} {
		if err := checkHostPort(a.address); err != nil {
			t.fail(a.key, "addresses look like \"10.0.0.5:"+gossipPort+"\"", "%s", err)
		}
	}
	for _, a := range s.Join {
		if host, port, err := net.SplitHostPort(a); err != nil || isWildcard(host) || port == "0" || checkHostPort(a) != nil {
			t.fail("join", "", "%q is no gateway's gossip address; they look like \"10.0.0.5:"+gossipPort+"\"", a)
		}
	}
	if strings.ContainsAny(s.Advertise, ": ") && net.ParseIP(s.Advertise) == nil || isWildcard(s.Advertise) && s.Advertise != "" {
		t.fail("advertise", "the ports are those of gossip and listen", "is %q; must be the IP address or host name that others dial", s.Advertise)
	}
}

// checkMember holds what is said elsewhere to what a site needs.
func checkMember(doc *document, c *Config) {
	if !c.IsSite() || c.Gateway.Name == "" {
		return
	}
	if err := sitekey.CheckName(c.Gateway.Name); err != nil {
		doc.fail("gateway.name", "on a site it stands in the gateway's certificate", "%s", err)
	}
}
