package forward

import (
	"context"
	"log/slog"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/ingest"
	"cistern/segstore/replica"
)

// Leader takes finished batches to whoever leads their partitions.
// replica.Manager is one.
type Leader interface {
	// Produce does not block. Every Append is answered once; batches of one
	// partition arrive in order.
	Produce(batches []*replica.Append)
}

// Config of a Forwarder.
type Config struct {
	Store  *segstore.Store // where batches are parked
	Leader Leader
	// Image is the site's metadata, as this gateway knows it: which streams there
	// are, what was promised, who leads. Nil is not allowed.
	Image func() *metadata.Image
	// Changed gives a channel that gets a value after Image has changed, and a
	// function that ends it.
	Changed func() (<-chan struct{}, func())
	Policy  Policy // zero fields: the defaults
	Logger  *slog.Logger
}

// Forwarder implements ingest.Journal for a gateway of a site.
type Forwarder struct{ cfg Config }

// New finds what a former process has parked. Nothing is sent before Run.
func New(cfg Config) (*Forwarder, error) { return &Forwarder{cfg: cfg}, nil }

// Run forwards until ctx ends, then answers what is still unanswered with
// ingest.ErrUnavailable. What is parked stays parked for the next process.
func (f *Forwarder) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Stream implements ingest.Journal.
func (f *Forwarder) Stream(name string) (metadata.StreamConfig, bool) {
	return metadata.StreamConfig{}, false
}

// Refuses implements ingest.Journal.
func (f *Forwarder) Refuses(p metadata.PartitionID) error { return nil }

// Submit implements ingest.Journal.
func (f *Forwarder) Submit(batches []*ingest.Batch) {}

// Status says what is parked here and what was.
func (f *Forwarder) Status() Status { return Status{} }

// Status of a Forwarder.
type Status struct {
	Partitions []PartitionStatus // those with something parked or held back, by name

	Parked     int64 // batches ever parked
	Confirmed  int64 // records confirmed while only parked
	HandedOver int64 // parked batches that their leader has taken
	Resent     int64 // batches sent again after an error
	Renewed    int64 // times that a partition took a new producer id
	Refused    int64 // batches answered with an error
	Lost       int64 // parked records that flash could not give back
}

// PartitionStatus is one partition's backlog here.
type PartitionStatus struct {
	Partition metadata.PartitionID
	Batches   int64     // parked, not yet at the leader; -1: of a former process, not counted
	Records   int64     // likewise
	Held      int64     // records among them whose senders wait for their answer
	Oldest    time.Time // when the oldest of them was parked, or this process began
	Memory    int64     // batches that wait in memory
	Error     string    // why they are not at the leader
}
