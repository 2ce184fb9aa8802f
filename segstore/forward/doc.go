// Package forward answers: how does a finished batch reach its partition's
// leader, once and in order, or stay safe here meanwhile?
//
// It stands at the gateway that took the records, between ingest's pump and
// whoever leads the partition, this gateway or another.
//
//	pump ─▶ Submit ─▶ fresh ─▶ window ─▶ leader       direct: from memory
//	                    │         │        ▲
//	              older than ParkAfter     │
//	                    ▼         ▼        │
//	                  parked log (flash) ──┘          unparking: read back
//
// [Queue] decides, one for each partition: a pure state machine, which the
// simulator runs as it is. [Forwarder] joins the queues with the leader, the
// store and the clock.
//
//		             no answer for ParkAfter             the leader answers
//		┌────────┐ ──────────────────────────▶ ┌────────┐ ────────────────▶ ┌───────────┐
//		│ direct │                             │ parked │                   │ unparking │
//		└────────┘                             └────────┘ ◀──────────────── └───────────┘
//		     ▲                                            an error, silence       │
//		     └────────────────────────────────────────────────────────────────────┘
//		                         the leader has all that was parked
//
//	  - direct: up to InFlightMax batches are at the leader, the others wait in
//	    memory.
//	  - parked: new batches go to the parked log at once. One batch at a time
//	    tries whether the leader is back: after a back-off, or when the site's
//	    metadata changes.
//	  - unparking: the parked log is handed over in order. New batches wait in
//	    memory for their turn, and are parked when that takes ParkAfter.
//
// # Once
//
// A batch leaves with a producer id and a sequence number. Whatever happens it
// is sent again with the same two, and a leader takes each sequence once and
// none out of order. So an attempt may be repeated without knowing what became
// of the last one; where a leader changes it is repeated without waiting for
// that.
//
// The numbers have to change when a leader refuses a batch for good, or does
// not know the producer. Then no attempt may be under way, and there must be
// proof that the leader has none of the batches in question: it refused one
// that was sent while everything before it had been answered. A parked batch
// has its number on flash; its new one is made durable before it is used.
//
// # Safe
//
// What is parked is on this gateway's flash. Where one durable copy is what was
// promised (min_insync 1, or acks 0 or 1) parking confirms. Elsewhere the batch
// is held: it leaves memory, and its senders are answered when it is replicated.
//
// Parked batches survive the process and are handed over by the next one. How
// far that went is noted with a later commit, so some are handed over twice;
// the leader has them. What was only held is given up by the next process: nobody
// was told that it is safe, its senders are gone and send it again, and handed over
// late it would come after what they sent since.
//
// What can't be parked, because flash is full or latched, waits in memory for
// RefuseAfter and is then refused; its fate is unknown to whoever sent it.
//
// # Limits
//
//   - Order holds for what passes through one gateway. A device that moves to
//     another one may overtake its own records that are still parked here.
//   - A held record waits as long as its leader is away. The senders' windows
//     fill meanwhile (ingest.HeldRecordsMax bounds them together), and when the
//     gateway stops they are told that it is not confirmed.
//   - A sender that gives a held record up while this gateway lives, and sends it
//     again on another connection, has it twice.
//   - A batch whose answer was lost, and that is handed over only after the
//     leader has forgotten its producer, is taken twice. So is one whose request
//     reaches a leader after this gateway gave it up and renumbered.
//   - A parked batch that a leader refuses for good (its stream was deleted, its
//     flash is full) is kept and tried again: what was confirmed is not dropped.
//   - At most ReadersMax partitions hand over at a time, with ReadBytesMax or one
//     batch each in memory.
package forward
