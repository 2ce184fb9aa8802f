// Package drain knows what has already gone upstream and what goes next.
//
// A [Drainer] sends every record below a partition's high watermark to the
// central system, once and in order, as the very batches that lie on flash.
// What "once" rests on is the [Cursor]: one small durable record for each
// partition, which names the producer id under which the central broker
// counts this partition's records, and the offset where that count begins.
//
// # One partition's session
//
//	              ┌────────────── back-off, jitter ◀───────────────┐
//	              ▼                                                │
//	┌──────── connecting ────────┐   the sink opens a lane: topic, │
//	│ waits for the uplink, the  │   leader, producer id, position │
//	│ topic, a leader            │                                 │
//	└─────────────┬──────────────┘                                 │
//	              │ lane open; "in doubt" made durable (PutSync)   │
//	              ▼                                                │
//	         ┌─ probing ─┐  one batch in flight, until the first   │
//	         │ window 1  │  answer: a broker that has forgotten    │
//	         └─────┬─────┘  the producer must not see two at once  │
//	               │ acknowledged                                  │
//	               ▼                                               │
//	         ┌─ flowing ─┐  as many as the lane allows, cursor      │
//	         │ window 5  │  saved lazily (Put)                     │
//	         └─────┬─────┘                                         │
//	               │ first failure: wait for the answers that are  │
//	               │ still due, go back to the oldest unacknowledged
//	               ▼                                               │
//	     what does the failure say?                                │
//	       Retry      not now ────────────────────────────────────▶┤
//	       Misplaced  upstream counts otherwise: look there, once; │
//	                  the same again: stopped, said aloud ────────▶┤
//	       Forgotten  producer id expired: look, take a new one ──▶┤
//	       Denied     an operator is needed: say so, ask slowly ──▶┘
//	       Refused    back to probing with this batch alone; refused
//	                  again: quarantined, cursor moved past it, on
//	       Corrupt    verify the stored bytes: bad: quarantined, on;
//	                  good: the way upstream is at fault: Retry
//
// Before a batch leaves it is shaped (see package shape: as it is, unless
// configured otherwise) and has passed the gate (see package pace).
//
// # Flows
//
// A partition has one flow, in the order of offsets. Under [OrderLiveFirst] what
// an outage left behind becomes a range, a flow of its own with a beginning and an
// end, beside the live one. Each flow has its own [Cursor]: producer id, base,
// position, doubt. All of them are one stored record. What is said above of a
// partition's session is true of each flow's.
//
// A range that can't be sent (given up by retention, lost by flash, set aside,
// skipped by hand) is a gap: the cursor's Base moves by its length, durable
// before the first batch behind it leaves, so that sequence numbers stay
// contiguous. Each gap is counted and named.
//
// # Goroutines
//
// Run starts one goroutine for each partition, under OrderLiveFirst one more for
// its ranges, and one for the sink. A flow's goroutine owns its cursor and its
// session; what is stored and shown of it is the partition's, under its lock; the
// sink tells results through a channel that always has room. Buffers are bounded
// by one budget for the whole drainer, granted in the order of asking, live flows
// first, so that partitions take turns and memory stays flat under any backlog.
//
// DESIGN.md beside this file has the decisions and their prices.
package drain
