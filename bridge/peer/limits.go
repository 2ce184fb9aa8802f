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
	// larger batch is refused.
	ProduceRequestBytes = 1 << 20
	// ProducePartitionsMax bounds the partitions of one Produce.
	ProducePartitionsMax = 1024
	RequestsInFlight     = 32      // Produce requests to one gateway without an answer
	bytesInFlight        = 2 << 20 // and their records; one more request may exceed it

	// What waits for one gateway. Beyond, an Append is answered at once. The
	// memory is the ingress's, which bounds it for all partitions together.
	QueueMax      = 8192
	QueueBytesMax = 32 << 20

	// ProduceWait is how long a leader takes to answer; answerMargin, beyond
	// that and beyond a Fetch's MaxWait, is for the network.
	ProduceWait  = 10 * time.Second
	answerMargin = 5 * time.Second
	idleAfter    = time.Minute // then the connection for Produce is closed

	PartitionsMax = 4096             // of one Fetch
	FetchWaitMax  = 10 * time.Second // of one Fetch
	FetchBytesMax = 8 << 20          // of records in one answer, plus one batch
	FetchesMax    = 4                // at once from one gateway

	// What a server accepts: frames carry names beside the records.
	produceFrameMax = ProduceRequestBytes + 512<<10
	fetchFrameMax   = PartitionsMax*(metadata.StreamNameMax+64) + 1<<10
	connsMax        = metadata.MembersMax * (1 + FetchesMax)
	pendingMax      = 2 * RequestsInFlight
	pendingBytesMax = 2 * bytesInFlight
	errorTextMax    = 512 // bytes of an error's text on the wire
)
