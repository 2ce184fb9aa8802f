package ingest

import "cistern/gossip/metadata"

// Journal takes finished batches on a site of several gateways, where this one
// may keep no copy of a partition: forward.Forwarder is one. Nothing here blocks.
type Journal interface {
	// Stream returns what the site has decided about a stream.
	Stream(name string) (metadata.StreamConfig, bool)

	// Refuses says why a partition takes nothing now (ErrFull, ErrUnavailable),
	// nil when it does. It may have changed by the time a batch comes.
	Refuses(p metadata.PartitionID) error

	// Together names the gateway that answers for a partition now: those with the
	// same number are collected together.
	Together(p metadata.PartitionID) int32

	// Submit hands over batches that were collected together, those of a
	// partition in order. Each is answered by exactly one Done, those of a
	// partition in order; before that by one Held, if its answer takes long.
	Submit(batches []*Batch)
}

// Batch is one finished batch on its way to where its partition is led.
type Batch struct {
	Partition metadata.PartitionID
	Acks      metadata.Acks
	Records   int
	// Data is the batch as built, without a producer: the journal numbers it, in
	// place. Once Held or Done was called it is the pump's again, who fills it
	// anew; a journal that must keep it longer sets it nil before.
	Data []byte

	// Held says that the batch is safe on this gateway's flash, and that its
	// answer may take long: it no longer counts as waiting in memory.
	Held func(*Batch)
	// Done answers with BaseOffset or Err set; BaseOffset is -1 when nobody here
	// knows it. Both may be called from any goroutine.
	Done func(*Batch)

	BaseOffset int64
	Err        error
}
