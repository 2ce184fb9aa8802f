package config

import (
	"time"

	"cistern/gossip/metadata"
)

// Config is everything an operator can decide about one gateway. Default
// returns it for somebody who decided nothing.
type Config struct {
	Gateway Gateway
	Site    Site
	Storage Storage
	Streams []metadata.StreamConfig
	MQTT    MQTT
	Uplink  Uplink
	Status  Status
	Log     Log
	Board   Board
}

// Gateway says who this gateway is and where it keeps its data.
type Gateway struct {
	Name        string // "" is the host's name
	Site        string
	Data        string // folder
	MemoryLimit int64  // where the garbage collector starts to work harder
}

// Storage bounds what the gateway writes to its flash.
type Storage struct {
	MaxBytes         int64 // 0: 80 % of what the file system could give at start
	SegmentBytes     int64
	DailyWriteBudget int64         // bytes a day that commit_window "auto" aims for; 0: no budget
	ScrubEvery       time.Duration // how often all that is kept is read; 0: never
}

// MQTT is how devices hand over messages.
type MQTT struct {
	PasswordFile   string // users of all listeners; "" is no users
	ConnectionsMax int
	PacketBytesMax int
	ReceiveMaximum int
	ConnectTimeout time.Duration
	Listeners      []Listener
	Routes         []Route
	Sources        []Source
}

// Listener is one address where devices connect.
type Listener struct {
	Address   string
	Anonymous bool // clients need no user on an address that others can reach
}

// Route sends the topics that match a filter to a stream. The first match wins.
type Route struct {
	Filter    string
	Stream    string
	Key       string // template; "" is the whole topic
	Tombstone bool   // an empty payload becomes a null value
}

// Source is an external MQTT broker that the gateway reads from.
type Source struct {
	URL          string
	ClientID     string
	User         string
	PasswordFile string
	Topics       []string
	QoS          byte
	Retained     Retained
	Window       int
	TLS          TLS
}

// Retained says what happens to messages a broker repeats on subscription.
type Retained string

// What a Source can do with retained messages.
const (
	RetainedSkip   Retained = "skip"
	RetainedIngest Retained = "ingest"
)

// TLS is the client's side of an encrypted connection. All empty with Enabled
// trusts the system's certificates.
type TLS struct {
	Enabled    bool
	CAFile     string
	CertFile   string
	KeyFile    string
	ServerName string // that the certificate must name; empty: the host that is dialled
}

// Status is where the gateway tells about itself.
type Status struct {
	Socket string // "" is cistern.sock in the data folder
	HTTP   string // "" is off
}

// Log is how the gateway writes its log.
type Log struct {
	Level  string
	Format string
}

// Limits and defaults that the sample spells out.
const (
	dataDefault         = "cistern-data"
	siteDefault         = "default"
	memoryLimitDefault  = 28 << 20
	writeBudgetDefault  = 8 << 30            // 3 TB a year: a common card outlives that, a bare commit per message it may not
	scrubEveryDefault   = 7 * 24 * time.Hour // two copies seldom rot in between, and it is 1.8 kB/s of reading per GiB
	segmentBytesDefault = 4 << 20
	listenDefault       = "127.0.0.1:1883"
)

// Default returns the configuration of a gateway about which nothing was said.
func Default() Config {
	c := Config{
		Gateway: Gateway{Site: siteDefault, Data: dataDefault, MemoryLimit: memoryLimitDefault},
		Site:    defaultSite(),
		Storage: Storage{SegmentBytes: segmentBytesDefault, DailyWriteBudget: writeBudgetDefault, ScrubEvery: scrubEveryDefault},
		MQTT: MQTT{
			ConnectionsMax: 1000,
			PacketBytesMax: 256 << 10,
			ReceiveMaximum: 256,
			ConnectTimeout: 5 * time.Second,
		},
		Uplink: defaultUplink(),
		Log:    Log{Level: "info", Format: "text"},
		Board:  defaultBoard(),
	}
	c.fill()
	return c
}

// fill adds what a gateway can't do without: a stream, a listener, a route.
func (c *Config) fill() {
	if len(c.MQTT.Listeners) == 0 {
		c.MQTT.Listeners = []Listener{{Address: listenDefault}}
	}
	if len(c.MQTT.Routes) == 0 {
		c.MQTT.Routes = []Route{{Filter: "#", Stream: metadata.DefaultStream}}
	}
	for _, r := range c.MQTT.Routes {
		if _, ok := c.Stream(r.Stream); !ok && r.Stream == metadata.DefaultStream {
			c.Streams = append(c.Streams, metadata.DefaultStreamConfig(r.Stream))
		}
	}
}

func defaultSource() Source {
	return Source{QoS: 1, Retained: RetainedSkip, Window: 1000}
}

// Stream returns what was decided about the stream of that name.
func (c *Config) Stream(name string) (metadata.StreamConfig, bool) {
	for _, s := range c.Streams {
		if s.Name == name {
			return s, true
		}
	}
	return metadata.StreamConfig{}, false
}
