package config

import (
	"errors"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cistern/gossip/metadata"
)

// The sample tells the truth: with its defaults uncommented it says what an
// empty file says.
func TestSampleIsTheDefaults(t *testing.T) {
	single := regexp.MustCompile(`(?m)^# `)
	uncommented := single.ReplaceAllString(Sample, "")
	if n := len(single.FindAllString(Sample, -1)); n < 40 {
		t.Fatalf("only %d defaults found in the sample", n)
	}
	for name, text := range map[string]string{"empty": "", "sample": Sample, "uncommented": uncommented} {
		got, err := Parse(name, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if want := Default(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
		}
	}
}

// Every key that can be read is in the sample, and its examples are right.
func TestSampleSaysEverything(t *testing.T) {
	text := regexp.MustCompile(`(?m)^(# |##   )`).ReplaceAllString(Sample, "")
	c, err := Parse("sample", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.MQTT.Sources) != 1 || c.Uplink.Kafka.SASL.User != "gateway-1" {
		t.Fatalf("examples were not read: %+v", c)
	}
	example := c.MQTT.Sources[0]
	want := defaultSource()
	want.URL, want.ClientID, want.Topics, want.TLS = example.URL, example.ClientID, example.Topics, example.TLS
	if !reflect.DeepEqual(example, want) {
		t.Errorf("the source's defaults in the sample are %+v, want %+v", example, want)
	}
	doc := &document{file: "empty"}
	for _, key := range knownKeys(doc) {
		if slices.Contains([]string{"listener", "route", "source", "timing", "weights", "rebatch", "kafka", "nats", "mqtt", "tls", "sasl", "power_fail", "button", "led"}, key) {
			continue // tables, not keys
		}
		if !regexp.MustCompile(`(?m)^(# |##   )?` + regexp.QuoteMeta(key) + ` = `).MatchString(Sample) {
			t.Errorf("the sample says nothing about %q", key)
		}
	}
}

// knownKeys collects the keys that the readers ask for.
func knownKeys(doc *document) []string {
	var keys []string
	collect := func(read func(*table)) {
		tab := &table{doc: doc}
		read(tab)
		keys = append(keys, tab.known...)
	}
	collect(func(t *table) { readStream(t, new(metadata.StreamConfig)) })
	collect(func(t *table) { readListener(t, true) })
	collect(func(t *table) { readMQTT(t, new(MQTT)) })
	collect(func(t *table) { readRoute(t) })
	collect(func(t *table) { readGateway(t, new(Gateway)) })
	collect(func(t *table) { readSite(t, new(Site)) })
	collect(func(t *table) { readTiming(t, new(Timing)) })
	collect(func(t *table) { readStorage(t, new(Storage)) })
	collect(func(t *table) { readUplink(t, new(Uplink)) })
	collect(func(t *table) { readWeights(t, nil) })
	collect(func(t *table) { readRebatch(t, new(Rebatch)) })
	collect(func(t *table) { readKafka(t, new(Kafka)) })
	collect(func(t *table) { readCentralMQTT(t, new(CentralMQTT)) })
	collect(func(t *table) { readCentralNATS(t, new(CentralNATS)) })
	collect(func(t *table) { readStatus(t, new(Status)) })
	collect(func(t *table) { readLog(t, new(Log)) })
	collect(func(t *table) { readTLS(t, new(TLS), true) })
	collect(func(t *table) { readSASL(t, new(SASL)) })
	collect(func(t *table) { readBoard(t, new(Board)) })
	collect(func(t *table) { readPowerFail(t, new(PowerFail)) })
	collect(func(t *table) { readButton(t, new(Button)) })
	collect(func(t *table) { readLED(t, new(LED)) })
	collect(readMachine)
	return keys
}

func TestEverythingSet(t *testing.T) {
	const text = `
gateway = { name = "g1", site = "plant-7", data = "/data", memory_limit = "64MiB" }
storage.max_bytes = "1.5GiB"

[[stream]]
name = "alarms"
partitions = 3
lane = "alarm"
acks = 1
codec = "lz4"
commit_window = "20ms"
commit_latency_max = "1s"
commit_bytes = 4096
retention = "2w"
retention_bytes = "2GiB"
drop_undrained = true
when_full = "drop_oldest"

[[stream]]
name = "rest"

[[mqtt.route]]
filter = "alarm/#"
stream = "alarms"
key = "{2}"
tombstone = true

[[mqtt.route]]
filter = "#"

[uplink.kafka]
brokers = ["a:9092", "b:9092"]

[uplink.kafka.tls]
ca_file = "ca.pem"
`
	c, err := Parse("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := metadata.StreamConfig{
		Name: "alarms", Partitions: 3, Lane: "alarm", Acks: metadata.AcksLeader, Codec: metadata.CodecLZ4,
		CommitWindow: 20 * time.Millisecond, CommitLatencyMax: time.Second, CommitBytes: 4096,
		RetentionTime: 14 * day, RetentionBytes: 2 << 30, DropUndrained: true, WhenFull: metadata.DropOldest,
	}
	if got := c.Streams[0]; got != want {
		t.Errorf("stream:\n got %+v\nwant %+v", got, want)
	}
	if names := []string{c.Streams[0].Name, c.Streams[1].Name, c.Streams[2].Name}; !reflect.DeepEqual(names, []string{"alarms", "rest", "mqtt"}) {
		t.Errorf("streams: %v", names)
	}
	if r := c.MQTT.Routes[0]; r != (Route{"alarm/#", "alarms", "{2}", true}) {
		t.Errorf("route: %+v", r)
	}
	if !c.Uplink.Kafka.TLS.Enabled || len(c.Uplink.Kafka.Brokers) != 2 {
		t.Errorf("uplink: %+v", c.Uplink.Kafka)
	}
	if c.Gateway.Site != "plant-7" || c.Storage.MaxBytes != 3<<29 {
		t.Errorf("%+v %+v", c.Gateway, c.Storage)
	}
	for _, s := range c.Streams {
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestErrors(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"syntax":             {"[log]\nlevel = debug", `f:2:9: `},
		"unknown section":    {"[storge]", `f:1:2: storge: unknown key (did you mean "storage"?)`},
		"unknown key":        {"[storage]\nsegment_byte = 4", `f:2:1: storage.segment_byte: unknown key (did you mean "segment_bytes"?)`},
		"swapped letters":    {"log.lvele = 'info'", `f:1:5: log.lvele: unknown key (did you mean "level"?)`},
		"nothing like it":    {"[log]\nbanana = 1", `f:2:1: log.banana: unknown key (known here: level, format)`},
		"wrong type":         {"[gateway]\nname = 4", `f:2:1: gateway.name: is the number 4; must be a string`},
		"wrong word":         {"[log]\nlevel = 'INFO'", `f:2:1: log.level: is "INFO"; allowed are "debug", "info", "warn", "error" (did you mean "info"?)`},
		"range":              {"[[stream]]\nname = 'a'\npartitions = 0", `f:3:1: stream[0].partitions: is 0; allowed are 1 to 1024`},
		"range in the 2nd":   {"[[stream]]\nname = 'a'\n[[stream]]\nname = 'b'\n  partitions = 1025", `f:5:3: stream[1].partitions: is 1025`},
		"float":              {"[[stream]]\nname = 'a'\npartitions = 1.5", `f:3:1: stream[0].partitions: is the number 1.5; must be a whole number`},
		"size range":         {"storage.segment_bytes = '1MiB'", `f:1:9: storage.segment_bytes: is 1MiB; allowed are 2MiB to 64MiB`},
		"negative size":      {"storage.max_bytes = -1", `allowed are 0B to 1024TiB`},
		"odd segment":        {"storage.segment_bytes = 4194305", `must be a multiple of 4KiB`},
		"shared source":      {"[[mqtt.source]]\nurl='mqtt://h:1883'\nclient_id='c'\ntopics=['$share/a/#']", `shared subscriptions would leave messages behind`},
		"no size":            {"storage.max_bytes = 'lots'", `"lots" is not a size; sizes look like`},
		"too few segments":   {"storage.max_bytes = '5MiB'", `at least 4 segments of 4MiB must fit`},
		"no duration":        {"[[stream]]\nname = 'a'\nretention = '7 days'", `f:3:1: stream[0].retention: "7 days" is not a duration`},
		"acks":               {"[[stream]]\nname = 'a'\nacks = 2", `f:3:1: stream[0].acks: is the number 2; allowed are "all", 1, 0`},
		"window":             {"[[stream]]\nname = 'a'\ncommit_window = '2m'", `is 2m; allowed are 0s to 1m`},
		"no stream name":     {"\n[[stream]]\nacks = 1", `f:2:3: stream[0]: a stream needs a name`},
		"bad stream name":    {"[[stream]]\nname = 'a/b'", `only A-Z a-z 0-9 . _ - are`},
		"twice":              {"[[stream]]\nname = 'a'\n[[stream]]\nname = 'a'", `f:4:1: stream[1].name: "a" was declared above`},
		"stream not array":   {"[stream]\nname = 'a'", `must be an array of tables: [[stream]]`},
		"route to nowhere":   {"[[stream]]\nname='alarms'\n[[mqtt.route]]\nfilter='#'\nstream='alarm'", `f:5:1: mqtt.route[0].stream: stream "alarm" is not declared (did you mean "alarms"?)`},
		"bad filter":         {"[[mqtt.route]]\nfilter='a/#/b'", `f:2:1: mqtt.route[0].filter: "a/#/b" is no topic filter`},
		"open listener":      {"[[mqtt.listener]]\naddress = '0.0.0.0:1883'", `f:1:8: mqtt.listener[0]: 0.0.0.0:1883 can be reached by others`},
		"open wildcard":      {"[[mqtt.listener]]\naddress = ':1883'", `can be reached by others`},
		"no port":            {"[[mqtt.listener]]\naddress = '127.0.0.1'", `missing port`},
		"inline password":    {"[uplink.kafka.sasl]\npassword = 'x'", `secrets don't belong in the configuration (put it in a file with mode 0600`},
		"password in URL":    {"[[mqtt.source]]\nurl='mqtt://u:p@h:1883'\nclient_id='c'\ntopics=['#']", `f:2:1: mqtt.source[0].url: secrets don't belong`},
		"source without id":  {"[[mqtt.source]]\nurl='mqtt://h:1883'\ntopics=['#']", `a source needs a fixed client_id`},
		"source without url": {"[[mqtt.source]]\nclient_id='c'\ntopics=['#']", `f:1:8: mqtt.source[0].url: is ""; must look like`},
		"broker":             {"[uplink.kafka]\nbrokers = ['kafka']", `brokers look like "kafka.example.com:9092"`},
		"half a certificate": {"[uplink.kafka.tls]\ncert_file = 'c'", `f:1:15: uplink.kafka.tls: cert_file and key_file go together`},
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

// An editor's mark before the first line is none of the text.
func TestByteOrderMark(t *testing.T) {
	if _, err := Parse("cistern.toml", []byte("\ufeff[machine]\r\nhostname = \"press-7\"\r\n")); err != nil {
		t.Error(err)
	}
}

func TestAllErrorsInOrder(t *testing.T) {
	_, err := Parse("f", []byte("[log]\nlevel = 1\nformt = 'x'\n[gateway]\nnam = 1"))
	var all Errors
	if !errors.As(err, &all) || len(all) != 3 {
		t.Fatalf("want 3 errors, got %v", err)
	}
	for i, line := range []int{2, 3, 5} {
		if all[i].Line != line {
			t.Errorf("error %d is about line %d, want %d", i, all[i].Line, line)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Sample)
	f.Add("[[a]]\nb.c = {d = [{e = 1}]}\n[a.b]\n[[mqtt.route]]\n[mqtt.route.x]")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("f", []byte(text))
		if err != nil {
			return
		}
		for _, s := range c.Streams {
			if err := s.Validate(); err != nil {
				t.Fatalf("accepted a stream that can't be: %v", err)
			}
		}
	})
}
