package config

import (
	"time"

	"cistern/bridge/drain/pace"
	"cistern/bridge/drain/shape"
	"cistern/gossip/metadata"
)

// Uplink is the way to the central system: one of Kafka, MQTT and NATS. Without
// any the gateway buffers.
type Uplink struct {
	Order          string // OrderStrict or OrderLiveFirst
	BytesPerSecond int64  // cap on what leaves; 0: none
	DailyBytes     int64  // what may leave on a local day; 0: no limit
	Schedule       []pace.Window
	RampUp         bool
	Weights        map[string]int // share of each of metadata.Lanes
	Rebatch        Rebatch
	Kafka          Kafka
	MQTT           CentralMQTT
	NATS           CentralNATS
}

// What [uplink] order may say.
const (
	OrderStrict    = "strict"
	OrderLiveFirst = "live_first"
)

// Ways upstream, as Uplink.Way names them.
const (
	WayNone  = ""
	WayKafka = "kafka"
	WayMQTT  = "mqtt"
	WayNATS  = "nats"
)

// Way returns which way upstream is configured.
func (u *Uplink) Way() string {
	switch {
	case len(u.Kafka.Brokers) > 0:
		return WayKafka
	case u.MQTT.URL != "":
		return WayMQTT
	case len(u.NATS.URLs) > 0:
		return WayNATS
	}
	return WayNone
}

// Addresses returns where the way upstream leads, for people.
func (u *Uplink) Addresses() []string {
	switch u.Way() {
	case WayKafka:
		return u.Kafka.Brokers
	case WayMQTT:
		return []string{u.MQTT.URL}
	}
	return u.NATS.URLs
}

// Rebatch merges small batches on the way out, for links that cost by the byte.
type Rebatch struct {
	Bytes  int           // what a merged batch may have before compression; 0: batches leave as they lie on flash
	Level  int           // of zstd, 1 to 22
	Linger time.Duration // how long records wait for others
}

// Kafka is a central Kafka cluster.
type Kafka struct {
	Brokers      []string
	Topic        string // template
	CreateTopics bool
	Mode         string // one of the Mode constants
	TLS          TLS
	SASL         SASL
	RequestBytes int // what one request may carry
	Timeout      time.Duration
}

// What [uplink.kafka] mode may say.
const (
	ModeAuto        = "auto" // what the brokers can do
	ModeSequence    = "sequence"
	ModeTransaction = "transaction"
	ModeAtLeastOnce = "at_least_once"
)

// SASL is how the gateway proves to the central cluster who it is. An empty
// Mechanism sends none.
type SASL struct {
	Mechanism    string
	User         string
	PasswordFile string
}

// CentralMQTT is a central MQTT broker.
type CentralMQTT struct {
	URL          string // mqtt:// or mqtts://
	ClientID     string // "": "cistern-", the site, "-", the gateway's name
	User         string
	PasswordFile string
	Prefix       string // put in front of each record's topic
	QoS          byte   // 1 or 2
	Window       int    // messages that may be unconfirmed
	TLS          TLS    // Enabled by the URL
}

// CentralNATS is a central NATS server with JetStream.
type CentralNATS struct {
	URLs         []string
	Stream       string // of JetStream, which has to be there
	Subject      string // template
	User         string
	PasswordFile string
	CredsFile    string
	TLS          TLS
}

const (
	topicDefault      = "{stream}"
	subjectDefault    = "cistern.{site}.{stream}.{partition}"
	timeoutDefault    = 30 * time.Second
	lingerDefault     = 5 * time.Second
	mqttWindowDefault = 64
)

func defaultUplink() Uplink {
	u := Uplink{
		Order:   OrderStrict,
		RampUp:  true,
		Weights: map[string]int{},
		Rebatch: Rebatch{Level: shape.LevelDefault, Linger: lingerDefault},
		Kafka:   Kafka{Topic: topicDefault, Mode: ModeAuto, RequestBytes: 1 << 20, Timeout: timeoutDefault},
		MQTT:    CentralMQTT{QoS: 1, Window: mqttWindowDefault},
		NATS:    CentralNATS{Subject: subjectDefault},
	}
	for _, lane := range metadata.Lanes {
		u.Weights[lane] = 1
	}
	return u
}
