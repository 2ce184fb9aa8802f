// Package natssink drains to a stream of NATS JetStream, every record once and
// in order, without a window after which the promise ends.
//
// # How a record is admitted once
//
// Each partition has a subject of its own. Whoever publishes says which message
// he believes to be the subject's last (Nats-Expected-Last-Subject-Sequence); if
// it is another, the server refuses. So a subject is a chain: a message can only
// be put behind the one its publisher has seen, and each says what it is:
//
//	Cistern-Incarnation  whose count it is (Cursor.Producer, drawn at random)
//	Cistern-Offset       the record's offset in the partition
//	Cistern-Batch        first-last offset of its batch; absent: it is alone
//	Cistern-Flows        how far other flows are on this subject; absent: no others
//
// The last message of the subject thus is the position: its offset and one. It
// is looked up after every crash, lost answer and refusal. A zombie, a resend,
// a request that lay in some queue: whichever comes second expects what is no
// longer the last, and is refused. Nothing has to be remembered for a certain
// time, which is what Nats-Msg-Id and its duplicate window would need.
//
// Under live_first two flows share the subject. The chain is then theirs in
// common: one goroutine publishes for both, and each message carries forward how
// far the others are, so that the last message still says everything.
//
// # In flight, and what it costs
//
// What is expected next is known only when the answer is there, since sequence
// numbers run through the whole JetStream stream. So one publish is under way
// per subject. What a publish is depends on the stream:
//
//   - allow_atomic (server 2.12 and later): up to [GroupRecordsMax] records, of as
//     many stored batches as wait, in one atomic batch: all or none of it, one
//     check, one answer. A partition does 1000 records per round trip.
//   - without: record by record, each with its check and its answer. A partition
//     does one record per round trip: 20/s at 50 ms. It is as exact, and meant
//     for servers that have nothing else. The log says so at each connection.
//
// The end of this page has numbers.
//
// # What the stream has to be
//
// It keeps messages by limits (work queues and interest streams remove the last
// message when it is consumed), acknowledges, and transforms no subjects. If it
// is missing, or something else, the partition stops and names the command that
// helps. Limits that discard old messages are fine while a subject's last message
// outlives an outage: when it is gone, the cursor is believed, and records whose
// answer was lost just before may come again. Expired and purged are told from
// lost by the stream's own last sequence.
//
// # What a consumer gets
//
// The record's value as payload; Cistern-Timestamp (unix ms); Cistern-Key, or
// Cistern-Key-Base64 if a header can't hold it; the record's headers by their
// names. A header that can't be one here, or would command the server (Nats-...),
// becomes Cistern-Header: base64(name)=base64(value), without padding. A null value is an empty
// payload with Cistern-Null: value. Records that are larger than the server or
// the stream takes are refused here, and quarantined by drain.
//
// # Measured
//
// BenchmarkDrain: one partition, 100-byte values, batches of 100 records, an
// embedded server 2.15 with file storage on the same two cores, which were busy
// with other things; the server takes three quarters of the CPU, this package
// about 1.5 µs per record.
//
//	round trip   atomic batches   record by record
//	loopback     9,000-17,000/s   5,000-10,000/s
//	50 ms        7,400/s          18/s
package natssink
