package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"cistern/bridge/drain/pace"
	"cistern/bridge/drain/shape"
	"cistern/gossip/metadata"
)

const (
	laneWeightMax  = 1000
	bytesPerSecMin = 128 // a slower link than that is a mistake of units
	dailyBytesMin  = 64 << 10
	lingerMax      = 10 * time.Minute
	zstdLevelMax   = 22
)

func readUplink(t *table, u *Uplink) {
	t.text("order", &u.Order, OrderStrict, OrderLiveFirst)
	t.sizeOrNone("bytes_per_second", &u.BytesPerSecond, bytesPerSecMin, 1<<40)
	t.sizeOrNone("daily_bytes", &u.DailyBytes, dailyBytesMin, 1<<50)
	t.schedule("schedule", &u.Schedule)
	t.flag("ramp_up", &u.RampUp)
	readWeights(t.table("weights"), u.Weights)
	readRebatch(t.table("rebatch"), &u.Rebatch)
	readKafka(t.table("kafka"), &u.Kafka)
	readCentralMQTT(t.table("mqtt"), &u.MQTT)
	readCentralNATS(t.table("nats"), &u.NATS)
	t.done()
	checkOneWay(t.doc, u)
}

// checkOneWay refuses a second way upstream: there is one cursor.
func checkOneWay(doc *document, u *Uplink) {
	var ways []string
	if len(u.Kafka.Brokers) > 0 {
		ways = append(ways, "uplink.kafka.brokers")
	}
	if u.MQTT.URL != "" {
		ways = append(ways, "uplink.mqtt.url")
	}
	if len(u.NATS.URLs) > 0 {
		ways = append(ways, "uplink.nats.urls")
	}
	for i, way := range ways {
		others := slices.Delete(slices.Clone(ways), i, i+1)
		for j, other := range others {
			others[j] = fmt.Sprintf("%s in %s", other, doc.at[other].seenFrom(doc.at[way]))
		}
		if len(others) > 0 {
			doc.fail(way, "keep one of them", "a gateway has one way upstream, and there is also %s", strings.Join(others, " and "))
		}
	}
}

func readWeights(t *table, weights map[string]int) {
	for _, lane := range metadata.Lanes {
		n := weights[lane]
		t.integer(lane, &n, 1, laneWeightMax)
		if weights != nil {
			weights[lane] = n
		}
	}
	t.done()
}

func readRebatch(t *table, r *Rebatch) {
	size := int64(r.Bytes)
	t.sizeOrNone("bytes", &size, shape.BytesMin, metadata.BatchBytesMax)
	r.Bytes = int(size)
	t.integer("level", &r.Level, 1, zstdLevelMax)
	t.duration("linger", &r.Linger, 0, lingerMax)
	t.done()
}

func readKafka(t *table, k *Kafka) {
	t.texts("brokers", &k.Brokers)
	t.text("topic", &k.Topic)
	t.flag("create_topics", &k.CreateTopics)
	t.text("mode", &k.Mode, ModeAuto, ModeSequence, ModeTransaction, ModeAtLeastOnce)
	t.moved("bytes_per_second", "uplink", "it holds for every way upstream")
	requestBytes := int64(k.RequestBytes)
	t.size("request_bytes", &requestBytes, metadata.BatchBytesMax, 64<<20)
	k.RequestBytes = int(requestBytes)
	t.duration("timeout", &k.Timeout, time.Second, 10*time.Minute)
	readTLS(t.table("tls"), &k.TLS, true)
	readSASL(t.table("sasl"), &k.SASL)
	for _, b := range k.Brokers {
		if err := checkHostPort(b); err != nil {
			t.fail("brokers", "brokers look like \"kafka.example.com:9092\"", "%s", err)
		}
	}
	t.done()
}

func readSASL(t *table, s *SASL) {
	t.text("mechanism", &s.Mechanism, "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
	t.text("user", &s.User)
	t.text("password_file", &s.PasswordFile)
	if len(t.values) > 0 && (s.Mechanism == "" || s.User == "" || s.PasswordFile == "") {
		t.doc.fail(t.path, "", "needs mechanism, user and password_file")
	}
	t.inlineSecret("password")
	t.done()
}

func readCentralMQTT(t *table, m *CentralMQTT) {
	t.text("url", &m.URL)
	t.text("client_id", &m.ClientID)
	t.text("user", &m.User)
	t.text("password_file", &m.PasswordFile)
	t.inlineSecret("password")
	t.text("prefix", &m.Prefix)
	qos := int(m.QoS)
	t.integer("qos", &qos, 1, 2) // nothing is confirmed with 0
	m.QoS = byte(qos)
	t.integer("window", &m.Window, 1, 65535)
	readTLS(t.table("tls"), &m.TLS, false)
	if m.URL != "" {
		u, err := url.Parse(m.URL)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "mqtt" && u.Scheme != "mqtts":
			t.fail("url", "", "is %q; must look like \"mqtt://host:1883\" or \"mqtts://host:8883\"", m.URL)
		case u.User != nil:
			t.fail("url", "use user and password_file", "secrets don't belong in the configuration")
		default:
			m.TLS.Enabled = u.Scheme == "mqtts"
		}
	}
	if strings.ContainsAny(m.Prefix, "+#\x00") || strings.HasPrefix(m.Prefix, "$") {
		t.fail("prefix", "", "is %q; it begins MQTT topics, where +, # and a first $ are not allowed", m.Prefix)
	}
	if m.PasswordFile != "" && m.User == "" {
		t.fail("password_file", "", "needs a user as well")
	}
	t.done()
}

func readCentralNATS(t *table, n *CentralNATS) {
	t.texts("urls", &n.URLs)
	t.text("stream", &n.Stream)
	t.text("subject", &n.Subject)
	t.text("user", &n.User)
	t.text("password_file", &n.PasswordFile)
	t.inlineSecret("password")
	t.text("creds_file", &n.CredsFile)
	readTLS(t.table("tls"), &n.TLS, true)
	for _, s := range n.URLs {
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls":
			t.fail("urls", "", "has %q in it; must look like \"nats://host:4222\" or \"tls://host:4222\"", s)
		case u.User != nil:
			t.fail("urls", "use user and password_file, or creds_file", "secrets don't belong in the configuration")
		default:
			n.TLS.Enabled = n.TLS.Enabled || u.Scheme == "tls"
		}
	}
	switch {
	case len(n.URLs) > 0 && n.Stream == "":
		t.fail("stream", "add stream = \"...\"", "the stream of JetStream must be named")
	case n.PasswordFile != "" && n.User == "":
		t.fail("password_file", "", "needs a user as well")
	case n.CredsFile != "" && n.User != "":
		t.fail("creds_file", "", "says who the gateway is, and so does user; keep one of them")
	}
	// A position is found by a subject's last message: each partition needs its own.
	for _, part := range []string{"{stream}", "{partition}"} {
		if !strings.Contains(n.Subject, part) {
			t.fail("subject", "", "is %q; must have {stream} and {partition} in it: each partition needs a subject of its own", n.Subject)
			break
		}
	}
	t.done()
}

// schedule takes an array of spans of the day.
func (t *table) schedule(key string, dst *[]pace.Window) {
	var words []string
	t.texts(key, &words)
	if len(words) > scheduleMax {
		t.fail(key, "", "has %d entries; at most %d are allowed", len(words), scheduleMax)
		return
	}
	for _, word := range words {
		w, err := pace.ParseWindow(word)
		if err != nil {
			t.fail(key, "", "%s", err)
			continue
		}
		*dst = append(*dst, w)
	}
}

const scheduleMax = 24

// sizeOrNone takes bytes in [low, high], or 0, which sets no limit.
func (t *table) sizeOrNone(key string, dst *int64, low, high int64) {
	n := *dst
	t.size(key, &n, 0, high)
	if n > 0 && n < low {
		t.fail(key, "", "is %s; allowed are %s to %s, and 0 for none", FormatSize(n), FormatSize(low), FormatSize(high))
		return
	}
	*dst = n
}

// moved refuses a key that has another place now.
func (t *table) moved(key, section, why string) {
	if !t.has(key) {
		return
	}
	t.known = append(t.known, key)
	t.fail(key, why, "has moved to [%s]", section)
}
