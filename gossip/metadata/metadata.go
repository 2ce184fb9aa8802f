// Package metadata says which streams and partitions exist, and what was
// promised about each. Plain values, no I/O: everything to the left of it in
// the house (journal, bridge, agent) can use them without learning who decided.
//
// A topic is only ever an MQTT topic. What is stored is a stream, made of
// partitions; upstream a stream is a Kafka topic.
package metadata

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Limits that hold for every site.
const (
	StreamNameMax  = 200  // bytes; a Kafka topic name may have 249
	PartitionsMax  = 1024 // partitions of one stream
	StreamsMax     = 1024 // streams of one site
	DefaultLane    = "normal"
	DefaultStream  = "mqtt"
	BatchBytesMax  = 1_000_000 // one batch on flash; Kafka refuses more than 1,048,588 by default
	CommitBytesMax = 1 << 20   // what commit_bytes may ask for
)

// Lanes are the retention priorities, most precious first. Each lane has a
// journal of its own, and when flash runs out the last lane gives way first.
var Lanes = []string{"alarm", DefaultLane, "bulk"}

// PartitionID names one partition of one stream.
type PartitionID struct {
	Stream    string
	Partition int32
}

// String returns "stream/partition", as logs and the command line show it.
func (p PartitionID) String() string { return fmt.Sprintf("%s/%d", p.Stream, p.Partition) }

// Compare orders partitions by stream and number, as [slices.SortFunc] wants it.
func (p PartitionID) Compare(o PartitionID) int {
	return cmp.Or(cmp.Compare(p.Stream, o.Stream), cmp.Compare(p.Partition, o.Partition))
}

// Acks says how many copies a confirmation waits for. On a site of one
// gateway AcksLeader and AcksAll are the same: on this gateway's flash.
type Acks int8

const (
	AcksAll    Acks = -1 // every in-sync replica has it on flash
	AcksNone   Acks = 0  // confirmed when taken, before it is on flash
	AcksLeader Acks = 1  // the leader has it on flash
)

// WhenFull says what gives way when flash is full.
type WhenFull uint8

const (
	Refuse     WhenFull = iota // new records are refused; nothing is dropped
	DropOldest                 // the oldest records go, each counted
)

// String returns the word the configuration uses.
func (w WhenFull) String() string {
	if w == DropOldest {
		return "drop_oldest"
	}
	return "refuse"
}

// Codec is a Kafka compression codec, numbered as in a batch's attributes.
type Codec uint8

const (
	CodecNone   Codec = 0
	CodecGzip   Codec = 1 // read, never written
	CodecSnappy Codec = 2
	CodecLZ4    Codec = 3
	CodecZstd   Codec = 4
)

// String returns the word the configuration uses.
func (c Codec) String() string {
	if int(c) < len(codecNames) {
		return codecNames[c]
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

var codecNames = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

// WindowAuto as a commit window: the store finds the window itself.
const WindowAuto time.Duration = -1

// StreamConfig is everything that is decided about a stream.
type StreamConfig struct {
	Name       string
	Partitions int32
	Lane       string // one of Lanes
	Acks       Acks
	Codec      Codec

	// CommitWindow is how long a commit may wait for company: it trades
	// latency for flash life, never durability. 0 commits as soon as the
	// device is free, WindowAuto finds the window between 0 and
	// CommitLatencyMax that keeps to the store's daily write budget.
	// CommitBytes closes a commit early.
	CommitWindow     time.Duration
	CommitLatencyMax time.Duration
	CommitBytes      int

	// Retention. Records that were not drained are kept whatever their age
	// unless DropUndrained is set (they may still give way when flash is
	// full and WhenFull is DropOldest). 0 means no limit.
	RetentionTime  time.Duration
	RetentionBytes int64
	DropUndrained  bool
	WhenFull       WhenFull

	// Of a site of several gateways. Replicas 0 is DefaultReplicas as far as
	// there are gateways; MinInsync 0 is what DefaultMinInsync says. MinInsync
	// is what a confirmation is worth: the gateways that have it on flash.
	Replicas  int
	MinInsync int
}

// DefaultReplicas is how many copies a stream has unless it says otherwise.
const DefaultReplicas = 3

// DefaultMinInsync returns 2 for three replicas or more, else 1.
func DefaultMinInsync(replicas int) int {
	if replicas >= 3 {
		return 2
	}
	return 1
}

// DefaultStreamConfig returns the configuration of a stream about which
// nothing was said.
func DefaultStreamConfig(name string) StreamConfig {
	return StreamConfig{
		Name:             name,
		Partitions:       1,
		Lane:             DefaultLane,
		Acks:             AcksAll,
		Codec:            CodecZstd,
		CommitWindow:     WindowAuto,
		CommitLatencyMax: 50 * time.Millisecond,
		CommitBytes:      256 << 10,
		RetentionTime:    7 * 24 * time.Hour,
	}
}

// Validate reports the first thing about c that can't be.
func (c StreamConfig) Validate() error {
	if err := ValidateStreamName(c.Name); err != nil {
		return err
	}
	switch {
	case c.Partitions < 1 || c.Partitions > PartitionsMax:
		return fmt.Errorf("stream %q: partitions is %d, allowed are 1 to %d", c.Name, c.Partitions, PartitionsMax)
	case !isLane(c.Lane):
		return fmt.Errorf("stream %q: lane is %q, allowed are %s", c.Name, c.Lane, strings.Join(Lanes, ", "))
	case c.Codec > CodecZstd || c.Codec == CodecGzip:
		return fmt.Errorf("stream %q: codec is %s, allowed are none, snappy, lz4, zstd", c.Name, c.Codec)
	case c.CommitWindow != WindowAuto && (c.CommitWindow < 0 || c.CommitWindow > time.Minute):
		return fmt.Errorf("stream %q: commit_window is %s, allowed are auto and 0s to 1m", c.Name, c.CommitWindow)
	case c.CommitLatencyMax < 0 || c.CommitLatencyMax > time.Minute:
		return fmt.Errorf("stream %q: commit_latency_max is %s, allowed are 0s to 1m", c.Name, c.CommitLatencyMax)
	case c.CommitBytes < 1 || c.CommitBytes > CommitBytesMax:
		return fmt.Errorf("stream %q: commit_bytes is %d, allowed are 1 to %d", c.Name, c.CommitBytes, CommitBytesMax)
	case c.RetentionTime < 0:
		return fmt.Errorf("stream %q: retention is %s, it can't be negative", c.Name, c.RetentionTime)
	case c.RetentionBytes < 0:
		return fmt.Errorf("stream %q: retention_bytes is %d, it can't be negative", c.Name, c.RetentionBytes)
	case c.Replicas < 0 || c.Replicas > ReplicasMax:
		return fmt.Errorf("stream %q: replicas is %d, allowed are 0 (the site's default) to %d", c.Name, c.Replicas, ReplicasMax)
	case c.MinInsync < 0 || c.MinInsync > ReplicasMax || c.Replicas > 0 && c.MinInsync > c.Replicas:
		return fmt.Errorf("stream %q: min_insync is %d, allowed are 0 (the default) to the number of replicas", c.Name, c.MinInsync)
	}
	return nil
}

func isLane(name string) bool {
	for _, l := range Lanes {
		if l == name {
			return true
		}
	}
	return false
}

// ValidateStreamName holds stream names to what Kafka allows for topics. Reserved
// names pass: who takes names from people must refuse them (IsReserved).
func ValidateStreamName(name string) error {
	limit := StreamNameMax
	if IsReserved(name) {
		limit += reservedRoom
	}
	if name == "" || name == "." || name == ".." || len(name) > limit {
		return fmt.Errorf("stream name %q: needs 1 to %d characters, and the names . and .. are taken", name, limit)
	}
	for _, r := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r) {
			return fmt.Errorf("stream name %q: %q is not allowed, only A-Z a-z 0-9 . _ - are", name, r)
		}
	}
	return nil
}
