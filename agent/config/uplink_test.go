package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"cistern/bridge/drain/pace"
)

func TestUplink(t *testing.T) {
	c, err := Parse("f", []byte(`
[uplink]
order = "live_first"
bytes_per_second = "20kB"
daily_bytes = "50MiB"
schedule = ["02:00-05:00", "22:30-01:00"]
ramp_up = false
weights = { alarm = 10, bulk = 2 }
rebatch = { bytes = "256KiB", level = 19, linger = "10s" }

[uplink.mqtt]
url = "mqtts://centre.example:8883"
client_id = "g1"
user = "u"
password_file = "p"
prefix = "plant-7/"
qos = 2
window = 7
tls.ca_file = "ca.pem"
`))
	if err != nil {
		t.Fatal(err)
	}
	u, want := c.Uplink, defaultUplink()
	want.Order, want.BytesPerSecond, want.DailyBytes, want.RampUp = OrderLiveFirst, 20_000, 50<<20, false
	want.Schedule = []pace.Window{{From: 120, To: 300}, {From: 22*60 + 30, To: 60}}
	want.Weights = map[string]int{"alarm": 10, "normal": 1, "bulk": 2}
	want.Rebatch = Rebatch{Bytes: 256 << 10, Level: 19, Linger: 10 * time.Second}
	want.MQTT = CentralMQTT{URL: "mqtts://centre.example:8883", ClientID: "g1", User: "u", PasswordFile: "p",
		Prefix: "plant-7/", QoS: 2, Window: 7, TLS: TLS{Enabled: true, CAFile: "ca.pem"}}
	if !reflect.DeepEqual(u, want) {
		t.Errorf("\n got %+v\nwant %+v", u, want)
	}
	if u.Way() != WayMQTT || u.Addresses()[0] != u.MQTT.URL {
		t.Errorf("way %q, addresses %q", u.Way(), u.Addresses())
	}
}

func TestNATS(t *testing.T) {
	c, err := Parse("f", []byte("[uplink.nats]\nurls = ['tls://a:4222', 'nats://b']\nstream = 'S'\ncreds_file = 'c'"))
	if err != nil {
		t.Fatal(err)
	}
	if n := c.Uplink.NATS; c.Uplink.Way() != WayNATS || len(n.URLs) != 2 || !n.TLS.Enabled || n.CredsFile != "c" || n.Subject != subjectDefault {
		t.Errorf("%+v", n)
	}
	if way := (&Uplink{}).Way(); way != WayNone {
		t.Errorf("nothing configured is %q", way)
	}
}

// Every file that an uplink names starts at the configuration's folder.
func TestUplinkFiles(t *testing.T) {
	c, err := Parse("f", []byte("[uplink.nats]\nuser='u'\npassword_file='p'\ntls.ca_file='ca'\n[uplink.mqtt]\nuser='u'\npassword_file='q'\ntls.ca_file='ca'\n"))
	if err != nil {
		t.Fatal(err)
	}
	c.resolve(&document{file: "/etc/cistern/f"})
	for _, path := range []string{c.Uplink.NATS.PasswordFile, c.Uplink.NATS.TLS.CAFile, c.Uplink.MQTT.PasswordFile, c.Uplink.MQTT.TLS.CAFile} {
		if !strings.HasPrefix(path, "/etc/cistern/") {
			t.Errorf("%q was not resolved", path)
		}
	}
}

func TestUplinkErrors(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"order":          {"[uplink]\norder = 'live'", `f:2:1: uplink.order: is "live"; allowed are "strict", "live_first"`},
		"mode":           {"[uplink.kafka]\nmode = 'sequense'", `allowed are "auto", "sequence", "transaction", "at_least_once" (did you mean "sequence"?)`},
		"moved":          {"[uplink.kafka]\nbytes_per_second = 5000", `f:2:1: uplink.kafka.bytes_per_second: has moved to [uplink]`},
		"tiny rate":      {"[uplink]\nbytes_per_second = 20", `f:2:1: uplink.bytes_per_second: is 20B; allowed are 128B to 1TiB, and 0 for none`},
		"tiny budget":    {"[uplink]\ndaily_bytes = '1KiB'", `allowed are 64KiB to 1024TiB, and 0 for none`},
		"schedule word":  {"[uplink]\nschedule = ['2am']", `f:2:1: uplink.schedule: "2am" is no span of time; they look like "02:00-05:00"`},
		"empty span":     {"[uplink]\nschedule = ['02:00-02:00']", `"00:00-24:00" is the whole day`},
		"schedule kind":  {"[uplink]\nschedule = '02:00-05:00'", `must be an array`},
		"unknown lane":   {"[uplink.weights]\nnormla = 1", `f:2:1: uplink.weights.normla: unknown key (did you mean "normal"?)`},
		"weight":         {"[uplink.weights]\nbulk = 0", `f:2:1: uplink.weights.bulk: is 0; allowed are 1 to 1000`},
		"rebatch size":   {"[uplink.rebatch]\nbytes = 10", `is 10B; allowed are 4KiB to 1000000B, and 0 for none`},
		"rebatch level":  {"[uplink.rebatch]\nlevel = 23", `is 23; allowed are 1 to 22`},
		"two ways":       {"[uplink.kafka]\nbrokers = ['a:1']\n\n[uplink.nats]\nurls = ['nats://b']\nstream = 's'", `f:5:1: uplink.nats.urls: a gateway has one way upstream, and there is also uplink.kafka.brokers in line 2`},
		"the other one":  {"[uplink.kafka]\nbrokers = ['a:1']\n\n[uplink.mqtt]\nurl = 'mqtt://b'", `f:2:1: uplink.kafka.brokers: a gateway has one way upstream, and there is also uplink.mqtt.url in line 5`},
		"mqtt url":       {"[uplink.mqtt]\nurl = 'tcp://h:1'", `f:2:1: uplink.mqtt.url: is "tcp://h:1"; must look like "mqtt://host:1883"`},
		"mqtt secret":    {"[uplink.mqtt]\nurl = 'mqtt://u:p@h:1'", `secrets don't belong`},
		"mqtt qos":       {"[uplink.mqtt]\nqos = 0", `is 0; allowed are 1 to 2`},
		"mqtt prefix":    {"[uplink.mqtt]\nprefix = 'a/#'", `f:2:1: uplink.mqtt.prefix: is "a/#"`},
		"mqtt user":      {"[uplink.mqtt]\npassword_file = 'p'", `needs a user as well`},
		"mqtt password":  {"[uplink.mqtt]\npassword = 'p'", `name that with password_file`},
		"nats url":       {"[uplink.nats]\nurls = ['h:4222']\nstream = 's'", `must look like "nats://host:4222"`},
		"nats stream":    {"[uplink.nats]\nurls = ['nats://h']", `the stream of JetStream must be named`},
		"nats subject":   {"[uplink.nats]\nsubject = 'a.{stream}'", `each partition needs a subject of its own`},
		"nats two users": {"[uplink.nats]\nuser = 'u'\ncreds_file = 'c'", `keep one of them`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("f", []byte(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("\n got %v\nwant %s", err, test.want)
			}
		})
	}
}
