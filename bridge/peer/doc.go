// Package peer lets gateways hand each other batches: it answers how a
// [replica.Append] reaches the partition's leader, and how a follower's
// [replica.FetchRequest] does.
//
// What travels is the Kafka protocol, as everywhere in this house: one format
// to secure, fuzz and read in a capture. The records of a request are the bytes
// of the Append, and those that the leader's journal gets are the bytes of the
// frame; they are copied once on each side.
//
//	ingress gateway                                     leader
//	Produce ─▶ queue ─▶ sender ── Produce v9, pipelined ──▶ Server ─▶ Service.Produce
//	  Done  ◀────────── reader ◀─ answers, in order ─────── writer ◀─ Done, in any order
//	follower
//	Fetch ────────────────────── Fetch v12, long poll ────▶ Server ─▶ Service.Fetch
//
// Each gateway has one connection for Produce to every other, and one for each
// Fetch under way ([FetchesMax]): a long poll never holds up a batch. Each has
// a goroutine of its own, so a slow gateway does not hold up another.
//
// # Produce, version 9
//
// A request carries at most one batch for each partition, as Kafka wants it;
// the next one of that partition goes into a later request, and up to
// [RequestsInFlight] of them are on their way at once. Acks are -1 and 1. An
// Append with AcksNone travels as 1: its ingress needs an answer, for without
// one it would not know which sequence number to go on with.
//
// Answers leave in the order of requests, so a partition that waits for its
// followers holds up the answers of those behind it. That is bounded: after
// [ProduceWait] the leader answers what is known, and REQUEST_TIMED_OUT for the
// rest, which says the same as a lost connection does: fate unknown
// ([replica.ErrUnreachable]). The batch is then produced once more, and its
// sequence number keeps it from being there twice.
//
// When a connection ends, all that was sent on it and all that queued behind
// is answered with ErrUnreachable, in order. Nothing is sent again from here:
// only the ingress knows what has to come first. A leader takes a gateway's batches
// from its newest connection only: what a killed process has written may come late,
// and must not get behind what the next one has sent.
//
// # Fetch, version 12
//
// Version 12 is the last that names streams; later ones want topic ids, which
// streams do not have. All that replication needs has a place in it:
//
//	node, incarnation         ReplicaState {id, epoch}, KIP-903's tagged field. It came
//	                          with version 15, but a tagged field is legal in every
//	                          flexible version; ReplicaID has the node as well
//	leader epoch              CurrentLeaderEpoch; in the answer CurrentLeader (tag 1)
//	offset, last epoch        FetchOffset, LastFetchedEpoch (KIP-595)
//	follower's watermark      HighWatermark, KIP-1166's tagged field of version 18
//	follower's high watermark HighWatermark, KIP-1166's tagged field
//	diverging                 DivergingEpoch (tag 0)
//	high watermark, log start fields of the answer
//	drained                   a tagged field of ours, see drainedTag
//
// What flash lost is asked for by a Fetch as a consumer sends it, replica id -1
// (KIP-392), which any copy answers; a tagged field of ours, see resumeTag, says
// where a copy goes on that lacks it as well. A gateway of an older version takes it
// for an unknown follower's and refuses.
//
// Sessions (KIP-227) are not used: a site has few partitions, and an answer
// has only those that there is something to say about.
package peer
