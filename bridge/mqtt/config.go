package mqtt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/ingest"
)

// Appender takes records for a partition.
type Appender interface {
	// Append copies r and takes it for the partition p, or returns why it
	// can't. It may wait for room until ctx is done; a ctx that is already
	// done means: take it if there is room, don't wait (QoS 0). When it
	// returned nil and c is not nil, c.Complete(seq, ...) is called exactly
	// once, perhaps before Append returns.
	Append(ctx context.Context, p metadata.PartitionID, r *batch.Record, c ingest.Completion, seq uint64) error
}

// Authenticator checks user names. It is called from many connections at once
// and holds its own limits: connects must not be able to eat the CPU.
type Authenticator interface {
	// Authenticate returns nil when the password is the user's,
	// ErrBadCredentials when it is not, and any other error when it could
	// not be checked now. ctx ends with the CONNECT deadline.
	Authenticate(ctx context.Context, user string, password []byte) error
}

// ErrBadCredentials is returned by an Authenticator for an unknown user or a
// wrong password.
var ErrBadCredentials = errors.New("unknown user or wrong password")

// Listener is one address to listen on.
type Listener struct {
	Address string // host:port

	// Anonymous lets clients in without a user name. Without it they need
	// one, except on a loopback address when no Authenticator is set.
	Anonymous bool
}

// Config is everything a Server needs.
type Config struct {
	Listeners  []Listener
	Auth       Authenticator // nil: there are no users
	Routes     []Route       // nil: DefaultRoutes
	Partitions func(stream string) int32
	Appender   Appender
	Logs       Logs // nil: SUBSCRIBE is refused

	Site         string // value of the header cistern.site; "" leaves it out
	ClientHeader bool   // every record says who published it, in mqtt.client

	// ClockMark appends the value of the header cistern.clock for a record that is
	// taken now, and nothing while the clock can be believed. It is called for
	// every record. nil: the clock can be believed.
	ClockMark func(dst []byte, now time.Time) []byte

	Limits  Limits
	Metrics *metrics.Set // nil: a set of its own
	Logger  *slog.Logger // nil: slog.Default()
}

// Limits bound what clients can make the server do. Zero means the default.
type Limits struct {
	Connections  int           // at once; 4096
	ConnectRate  int           // connects per second and address (IPv6: per /64); 200
	ConnectBurst int           // connects at once above that rate; 1000
	ConnectTime  time.Duration // from accept to a whole CONNECT; 5s
	ConnectBytes int           // size of a CONNECT; 16 KiB
	PacketTime   time.Duration // from first to last byte of a packet; 2m
	PacketBytes  int           // size of any other packet; 256 KiB
	WriteTime    time.Duration // a client that takes nothing for so long is gone; 20s

	// ReceiveMaximum is how many PUBLISHes of one client wait for their
	// confirmation. One client's throughput is this over the commit time:
	// 256 at 20 ms allows 12,800/s. MQTT 5 clients are told and must keep to
	// it (0x93); 3.1.1 clients are simply not read meanwhile.
	ReceiveMaximum int
	TopicAliases   int // per MQTT 5 client; 32

	OutputBytes   int // acks and answers waiting for one client; 64 KiB
	Subscriptions int // per client; 100
	QueueMessages int // deliveries waiting for one subscriber; 1000
	QueueBytes    int // the same in bytes; 1 MiB

	// MemoryBytes bounds read buffers, delivery queues, subscriptions and
	// topic aliases of all clients together; 64 MiB. A client that needs more when there is none is closed
	// (0x97).
	MemoryBytes int

	StopTime time.Duration // at stop, for acks that are still waiting; 5s
}

// packetBytesMax leaves room for headers in a batch of metadata.BatchBytesMax.
const packetBytesMax = 900_000

// withDefaults returns l with every zero replaced.
func (l Limits) withDefaults() Limits {
	return Limits{
		Connections:    cmp.Or(l.Connections, 4096),
		ConnectRate:    cmp.Or(l.ConnectRate, 200),
		ConnectBurst:   cmp.Or(l.ConnectBurst, 1000),
		ConnectTime:    cmp.Or(l.ConnectTime, 5*time.Second),
		ConnectBytes:   cmp.Or(l.ConnectBytes, 16<<10),
		PacketTime:     cmp.Or(l.PacketTime, 2*time.Minute),
		PacketBytes:    cmp.Or(l.PacketBytes, 256<<10),
		WriteTime:      cmp.Or(l.WriteTime, 20*time.Second),
		ReceiveMaximum: cmp.Or(l.ReceiveMaximum, 256),
		TopicAliases:   cmp.Or(l.TopicAliases, 32),
		OutputBytes:    cmp.Or(l.OutputBytes, 64<<10),
		Subscriptions:  cmp.Or(l.Subscriptions, 100),
		QueueMessages:  cmp.Or(l.QueueMessages, 1000),
		QueueBytes:     cmp.Or(l.QueueBytes, 1<<20),
		MemoryBytes:    cmp.Or(l.MemoryBytes, 64<<20),
		StopTime:       cmp.Or(l.StopTime, 5*time.Second),
	}
}

func (l Limits) validate() error {
	for _, r := range []struct {
		name          string
		value, lo, hi int64
	}{
		{"connections", int64(l.Connections), 1, 1 << 20},
		{"connect rate", int64(l.ConnectRate), 1, 1 << 20},
		{"connect burst", int64(l.ConnectBurst), 1, 1 << 20},
		{"connect time", int64(l.ConnectTime), int64(time.Millisecond), int64(time.Minute)},
		{"connect bytes", int64(l.ConnectBytes), 64, packetBytesMax},
		{"packet time", int64(l.PacketTime), int64(time.Millisecond), int64(time.Hour)},
		{"packet bytes", int64(l.PacketBytes), 64, packetBytesMax},
		{"write time", int64(l.WriteTime), int64(time.Millisecond), int64(time.Hour)},
		{"receive maximum", int64(l.ReceiveMaximum), 1, 65535},
		{"topic aliases", int64(l.TopicAliases), 1, 1024},
		{"output bytes", int64(l.OutputBytes), 1024, 16 << 20},
		{"subscriptions", int64(l.Subscriptions), 1, 10_000},
		{"queue messages", int64(l.QueueMessages), 1, 1 << 20},
		{"queue bytes", int64(l.QueueBytes), 1024, 1 << 30},
		{"memory bytes", int64(l.MemoryBytes), 1 << 20, 1 << 30},
		{"stop time", int64(l.StopTime), int64(time.Millisecond), int64(time.Minute)},
	} {
		if r.value < r.lo || r.value > r.hi {
			return fmt.Errorf("mqtt: limit %s is %d, allowed are %d to %d", r.name, r.value, r.lo, r.hi)
		}
	}
	return nil
}
