package status

import "time"

// Document is the state of one gateway at one moment. Its JSON is an interface
// for scripts: fields are added, never renamed.
type Document struct {
	Gateway Gateway  `json:"gateway"`
	Health  []Active `json:"health"` // worst first; empty when all is well
	Storage Storage  `json:"storage"`
	Streams []Stream `json:"streams"`
	Uplink  Uplink   `json:"uplink"`
	MQTT    MQTT     `json:"mqtt"`
	Sources []Source `json:"sources"`
	Process Process  `json:"process"`
	Board   *Board   `json:"board,omitempty"`   // nil before it was looked at
	Site    *Site    `json:"site,omitempty"`    // nil for a gateway on its own
	Machine *Machine `json:"machine,omitempty"` // nil for a gateway that runs from no image
}

// Gateway says who answers.
type Gateway struct {
	Name          string    `json:"name"`
	Site          string    `json:"site"`
	Version       string    `json:"version"`
	Data          string    `json:"data"`
	Started       time.Time `json:"started"`
	UptimeSeconds float64   `json:"uptime_seconds"`
	Clock         string    `json:"clock"` // synced, unsynced, unset
}

// Storage is the flash this gateway uses.
type Storage struct {
	UsedBytes        int64 `json:"used_bytes"`
	MaxBytes         int64 `json:"max_bytes"`
	FreeBytes        int64 `json:"free_bytes"`    // of the file system
	WrittenBytes     int64 `json:"written_bytes"` // to the device by the journal, since start
	DailyWriteBudget int64 `json:"daily_write_budget"`
	Segments         int   `json:"segments"`
	Commits          int64 `json:"commits"` // since start; one write and one flush each
	Full             bool  `json:"full"`    // the last search for room found none
	Latched          bool  `json:"latched"` // nothing is confirmed now
}

// Stream is one stream and its partitions.
type Stream struct {
	Name        string      `json:"name"`
	Lane        string      `json:"lane"`
	Dropped     int64       `json:"records_dropped"`     // undrained, by policy
	Quarantined int64       `json:"records_quarantined"` // refused by the centre
	Backlog     Backlog     `json:"backlog"`
	Parked      *Parked     `json:"parked,omitempty"` // nil for a gateway on its own
	Partitions  []Partition `json:"partitions"`
}

// Partition is where one partition stands.
type Partition struct {
	Partition     int32   `json:"partition"`
	StartOffset   int64   `json:"start_offset"`
	HighWatermark int64   `json:"high_watermark"`
	EndOffset     int64   `json:"end_offset"`
	Drained       int64   `json:"drained_offset"` // -1 without an uplink
	Upstream      string  `json:"upstream,omitempty"`
	Drain         string  `json:"drain,omitempty"` // what its drain is doing
	Error         string  `json:"error,omitempty"`
	Dropped       int64   `json:"records_dropped"`
	Quarantined   int64   `json:"records_quarantined"`
	Backlog       Backlog `json:"backlog"`
	Draining
	Replication
}

// Backlog is what was confirmed and not drained. Bytes are estimated from the
// partition's mean; OldestSeconds is the age of
// its first record by the record's own time; -1 when there is none.
type Backlog struct {
	Records       int64   `json:"records"`
	Bytes         int64   `json:"bytes"`
	OldestSeconds float64 `json:"oldest_seconds"`
}

// Add takes o into the sum b.
func (b *Backlog) Add(o Backlog) {
	b.Records += o.Records
	b.Bytes += o.Bytes
	b.OldestSeconds = max(b.OldestSeconds, o.OldestSeconds)
}

// Uplink is the way to the central cluster.
type Uplink struct {
	State     string    `json:"state"` // none, off, connecting, up, down
	Brokers   []string  `json:"brokers,omitempty"`
	ClusterID string    `json:"cluster_id,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	Error     string    `json:"error,omitempty"`
	Records   int64     `json:"records_drained"` // since start
	Bytes     int64     `json:"bytes_drained"`   // since start

	RecordsPerSecond float64 `json:"records_per_second"` // over the last ten

	Kind    string  `json:"kind,omitempty"`     // kafka, mqtt, nats
	Mode    string  `json:"mode,omitempty"`     // how records are kept from arriving twice
	ModeWhy string  `json:"mode_why,omitempty"` // who chose it, and why
	Pacing  *Pacing `json:"pacing,omitempty"`   // nil: records leave as fast as they can
}

// MQTT is the server for devices. Counters run since start.
type MQTT struct {
	Listeners []Listener `json:"listeners"`
	Clients   int64      `json:"clients"`
	Received  int64      `json:"messages_received"`
	Confirmed int64      `json:"messages_confirmed"`
	Refused   int64      `json:"messages_refused"`
	Lost      int64      `json:"messages_qos0_lost"` // QoS 0 that could not be taken
}

// Listener is one address where devices connect.
type Listener struct {
	Address   string `json:"address"`
	Anonymous bool   `json:"anonymous"`
}

// Source is an external broker that is read from.
type Source struct {
	URL       string `json:"url"`
	Reader    string `json:"reader,omitempty"` // the gateway of the site that reads it
	Connected bool   `json:"connected"`
	Messages  int64  `json:"messages"` // stored, since start
	Error     string `json:"error,omitempty"`

	SkippedRetained int64          `json:"skipped_retained"`
	Rejected        int64          `json:"rejected"`     // can never become a record; acknowledged
	DroppedQoS0     int64          `json:"dropped_qos0"` // refused by this gateway, and nobody sends them again
	LastRejected    string         `json:"last_rejected,omitempty"`
	SessionsLost    int64          `json:"sessions_lost"` // times the broker had forgotten us, with what it had queued
	Subscriptions   []Subscription `json:"subscriptions"`
}

// Subscription is a filter at an external broker, and what it granted.
type Subscription struct {
	Filter  string `json:"filter"`
	Granted bool   `json:"granted"`
	QoS     byte   `json:"qos"`
	Error   string `json:"error,omitempty"`
}

// Process is what the agent itself uses.
type Process struct {
	PID        int     `json:"pid"`
	RSSBytes   int64   `json:"rss_bytes"`
	HeapBytes  int64   `json:"heap_bytes"`
	Goroutines int     `json:"goroutines"`
	CPUSeconds float64 `json:"cpu_seconds"`
}

// BacklogTotal sums over all streams.
func (d *Document) BacklogTotal() Backlog {
	total := Backlog{OldestSeconds: -1}
	for _, s := range d.Streams {
		total.Add(s.Backlog)
	}
	return total
}
