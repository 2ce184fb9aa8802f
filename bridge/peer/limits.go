package peer

import (
	"time"

	"cistern/gossip/metadata"
)

// Limits between gateways. Those of a sender are below those of a receiver.
const (
	DialTimeout = 5 * time.Second // TCP, TLS and versions together
	dialWaitMin = 50 * time.Millisecond
	dialWaitMax = time.Second // between failed dials

	// ProduceRequestBytes is how many bytes of records a request gathers; a
	// larger batch has one to itself.
	ProduceRequestBytes = 256 << 10
	// ProducePartitionsMax bounds the partitions of one Produce.
	ProducePartitionsMax = 1024
	RequestsInFlight     = 32      // Produce requests to one gateway without an answer
	bytesInFlight        = 1 << 20 // and their records; the last request may exceed it

	// What waits for one gateway. Beyond, an Append is answered at once. The
	// memory is the ingress's, which bounds it for all partitions together.
	QueueMax      = 8192
	QueueBytesMax = 32 << 20

	// ProduceWait is how long a leader takes to answer, as MaxWait is for a
	// Fetch; see patience for the rest of the way.
	ProduceWait = 10 * time.Second
	idleAfter   = time.Minute // then the connection for Produce is closed

	PartitionsMax = 4096             // of one Fetch
	FetchWaitMax  = 10 * time.Second // of one Fetch
	FetchBytesMax = 8 << 20          // of records in one answer, plus one batch
	FetchesMax    = 4                // at once from one gateway

	// What a server accepts: frames carry names beside the records.
	produceFrameMax = metadata.BatchBytesMax + 512<<10
	fetchFrameMax   = PartitionsMax*(metadata.StreamNameMax+64) + 1<<10
	connsMax        = metadata.MembersMax * (1 + FetchesMax)
	pendingMax      = 2 * RequestsInFlight
	pendingBytesMax = 2 * (bytesInFlight + metadata.BatchBytesMax)
	errorTextMax    = 512 // bytes of an error's text on the wire
)

// patience is how long bytes may take between two gateways beyond what the
// leader takes. On a bad radio link they are slow, and to give up on them and
// begin again would never end. Whether the gateway lives is another question,
// and others answer it sooner: see Peers.Drop.
func patience(bytes int) time.Duration {
	const (
		margin  = 5 * time.Second
		slowest = 64 << 10 // bytes per second
	)
	return margin + time.Duration(bytes)*time.Second/slowest
}
