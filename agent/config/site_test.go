package config

import (
	"net"
	"reflect"
	"strings"
	"testing"
	"time"
)

// withKey is the least that makes a gateway one of a site.
const withKey = "[site]\nkey_file = 'k'\n"

func TestSite(t *testing.T) {
	const text = `
gateway = { name = "gateway-1", site = "plant-7" }

[site]
key_file = "site.key"
gossip = "10.0.0.4:7610"
listen = "10.0.0.4:7611"
advertise = "gateway-1.plant.example"
join = ["10.0.0.5:7610", "gateway-3:7610"]
mdns = true
zone = "hall-2"
weight = 2
bootstrap_expect = 5
profile = "wifi"
replace_after = "1h"
rebalance_after = "10m"
replica_lag_max = "5s"
park_after = "300ms"

[site.timing]
probe_interval = "500ms"
probe_timeout = "200ms"
suspicion_mult = 3
raft_lease = "250ms"

[[stream]]
name = "mqtt"
replicas = 5
min_insync = 3

[[mqtt.source]]
url = "mqtt://broker:1883"
topics = ["#"]

[[mqtt.source]]
url = "mqtt://broker:1883"
client_id = "other"
topics = ["#"]
`
	c, err := Parse("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Site{
		KeyFile: "site.key", Gossip: "10.0.0.4:7610", Listen: "10.0.0.4:7611", Advertise: "gateway-1.plant.example",
		Join: []string{"10.0.0.5:7610", "gateway-3:7610"}, MDNS: true, Zone: "hall-2", Weight: 2, BootstrapExpect: 5, Profile: ProfileWiFi,
		ReplaceAfter: time.Hour, RebalanceAfter: 10 * time.Minute, ReplicaLagMax: 5 * time.Second, ParkAfter: 300 * time.Millisecond,
		Timing: Timing{ProbeInterval: 500 * time.Millisecond, ProbeTimeout: 200 * time.Millisecond, SuspicionMult: 3, RaftLease: 250 * time.Millisecond},
	}
	if !reflect.DeepEqual(c.Site, want) || !c.IsSite() {
		t.Errorf("site:\n got %+v\nwant %+v", c.Site, want)
	}
	if s := c.Streams[0]; s.Replicas != 5 || s.MinInsync != 3 {
		t.Errorf("stream: %+v", s)
	}
	if a, b := c.MQTT.Sources[0].ClientID, c.MQTT.Sources[1].ClientID; a != "cistern-plant-7" || b != "other" {
		t.Errorf("sources read as %q and %q", a, b)
	}
}

func TestParkTime(t *testing.T) {
	for _, test := range []struct {
		text      string
		minInsync int
		want      time.Duration
	}{
		{"", 1, 250 * time.Millisecond}, {"park_after = 'auto'", 2, time.Second}, {"park_after = ''", 0, 250 * time.Millisecond},
		{"park_after = '2s'", 1, 2 * time.Second},
	} {
		c, err := Parse("f", []byte(withKey+test.text))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Site.ParkTime(test.minInsync); got != test.want {
			t.Errorf("%s, min_insync %d: got %s, want %s", test.text, test.minInsync, got, test.want)
		}
	}
}

func TestSiteErrors(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"no key":            {"[site]\njoin = ['10.0.0.5:7610']", "f:1:2: site: a site needs a key (make a key with `cistern site init`"},
		"open without key":  {"[site]\ngossip = '0.0.0.0:7610'\nkey_file = ''", `f:1:2: site: a site needs a key`},
		"only defaults":     {"[site]\nmdns = false", `f:1:2: site: a site needs a key`},
		"the key itself":    {"[site]\nkey = 'x'", `f:2:1: site.key: secrets don't belong in the configuration (put it in a file with mode 0600 and name that with key_file)`},
		"gossip":            {withKey + "gossip = '10.0.0.5'", `f:3:1: site.gossip: "10.0.0.5" is no address: address 10.0.0.5: missing port in address (addresses look like "10.0.0.5:7610")`},
		"listen":            {withKey + "listen = '10.0.0.5:port'", `f:3:1: site.listen: "10.0.0.5:port" has the port "port"; allowed are 0 to 65535`},
		"join no port":      {withKey + "join = ['10.0.0.5']", `f:3:1: site.join: "10.0.0.5" is no gateway's gossip address; they look like "10.0.0.5:7610"`},
		"join everybody":    {withKey + "join = ['0.0.0.0:7610']", `f:3:1: site.join: "0.0.0.0:7610" is no gateway's gossip address`},
		"join port 0":       {withKey + "join = ['10.0.0.5:0']", `is no gateway's gossip address`},
		"advertise a port":  {withKey + "advertise = '10.0.0.5:7610'", `f:3:1: site.advertise: is "10.0.0.5:7610"; must be the IP address or host name that others dial (the ports are`},
		"advertise all":     {withKey + "advertise = '::'", `f:3:1: site.advertise: is "::"; must be`},
		"expect too many":   {withKey + "bootstrap_expect = 65", `f:3:1: site.bootstrap_expect: is 65; allowed are 1 to 64`},
		"profile":           {withKey + "profile = 'wlan'", `f:3:1: site.profile: is "wlan"; allowed are "auto", "wired", "wifi"`},
		"replaced at once":  {withKey + "replace_after = '30s'", `f:3:1: site.replace_after: is 30s; allowed are 1m to 30d`},
		"park":              {withKey + "park_after = 'soon'", `f:3:1: site.park_after: "soon" is not a duration`},
		"long probe":        {withKey + "timing = { probe_interval = '1s', probe_timeout = '2s' }", `f:3:35: site.timing.probe_timeout: is 2s; at most 1s is allowed, which is probe_interval`},
		"long lease":        {withKey + "[site.timing]\nraft_heartbeat = '1s'\nraft_lease = '2s'", `f:5:1: site.timing.raft_lease: is 2s; at most 1s is allowed, which is raft_heartbeat`},
		"unknown timing":    {withKey + "[site.timing]\nraft_beat = '1s'", `f:4:1: site.timing.raft_beat: unknown key`},
		"gateway's name":    {"[gateway]\nname = 'hall 2'\n" + withKey, `f:2:1: gateway.name: gateway name "hall 2": needs`},
		"replicas":          {"[[stream]]\nname = 'a'\nreplicas = 6", `f:3:1: stream[0].replicas: is 6; allowed are 0 to 5`},
		"min_insync":        {"[[stream]]\nname = 'a'\nreplicas = 2\nmin_insync = 3", `f:4:1: stream[0].min_insync: is 3; of 2 replicas no more can be in sync`},
		"reserved stream":   {"[[stream]]\nname = 'cistern.parked.a'", `f:2:1: stream[0].name: is "cistern.parked.a"; names that begin with cistern. are the gateway's own`},
		"route to reserved": {"[[mqtt.route]]\nfilter = '#'\nstream = 'cistern.parked.mqtt'", `stream "cistern.parked.mqtt" is not declared`},
		"source without id": {"[[mqtt.source]]\nurl='mqtt://h:1883'\ntopics=['#']", `f:1:8: mqtt.source[0]: a source needs a fixed client_id`},
		"two sessions": {withKey + "[[mqtt.source]]\nurl='mqtt://h:1883'\ntopics=['a']\n[[mqtt.source]]\nurl='mqtt://h:1883'\ntopics=['b']",
			`f:6:8: mqtt.source[1].client_id: "cistern-default" reads mqtt://h:1883 already; a broker ends the older of two connections`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("f", []byte(test.text))
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("\n got %s\nwant %s", err, test.want)
			}
		})
	}
}

func TestAdvertiseHost(t *testing.T) {
	for _, test := range []struct{ gossip, advertise, want string }{
		{"10.0.0.5:7610", "", "10.0.0.5"}, {"0.0.0.0:7610", "gw", "gw"}, {"[fd00::1]:7610", "", "fd00::1"}, {"127.0.0.2:0", "", "127.0.0.2"},
	} {
		s := Site{Gossip: test.gossip, Advertise: test.advertise}
		if got, err := s.AdvertiseHost(); err != nil || got != test.want {
			t.Errorf("%+v: got %q, %v", test, got, err)
		}
	}
}

func TestOnlyAddress(t *testing.T) {
	for _, test := range []struct{ own, want, problem string }{
		{"127.0.0.1/8 10.0.0.5/24 ::1/128 fe80::1/64 fd00::5/64", "10.0.0.5", ""},
		{"127.0.0.1/8 169.254.1.1/16 fd00::5/64", "fd00::5", ""},
		{"10.0.0.5/24 172.17.0.1/16", "", "it has 10.0.0.5, 172.17.0.1; set advertise in [site]"},
		{"127.0.0.1/8", "", "none but loopback addresses"},
	} {
		var own []net.Addr
		for _, s := range strings.Fields(test.own) {
			ip, n, err := net.ParseCIDR(s)
			if err != nil {
				t.Fatal(err)
			}
			own = append(own, &net.IPNet{IP: ip, Mask: n.Mask})
		}
		got, err := onlyAddress(own)
		if got != test.want || (err != nil) != (test.problem != "") || err != nil && !strings.Contains(err.Error(), test.problem) {
			t.Errorf("%s: got %q, %v", test.own, got, err)
		}
	}
}
