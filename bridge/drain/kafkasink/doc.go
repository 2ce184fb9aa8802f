// Package kafkasink drains to a Kafka cluster in sequence mode: every record
// is admitted once by the broker's own idempotence check.
//
// Each partition of the site has a producer id of its own upstream, and a
// record's sequence number follows from its offset alone. Whoever sends it,
// however often, sends the same (producer, epoch, sequence), and the broker
// stores one. Nothing is ever aborted, so readers of any isolation level see
// every record once.
//
//	lanes (one per partition)              senders (one per broker)
//	┌ sensors/0 ┐  Send: header rewritten   ┌ queue, order of Send ┐   one connection,
//	│ pid 17    │──────────────────────────▶│ one batch of each    │──▶ up to 5 requests
//	├ sensors/1 ┤                           │ partition in a       │    in flight
//	│ pid 18    │──────────────────────────▶│ request, ≤ 1 MiB     │
//	└───────────┘                           └──────────────────────┘
//
// [Sink.Run] keeps the uplink: it asks for metadata, when something went wrong
// or grew silent, and is the only one that does. Its loop has four states:
//
//	connecting ──answer──▶ up ──failure, or silence and no answer──▶ connecting
//	connecting ──no answer──▶ down ──back-off or Kick──▶ connecting
//
// "Up" means that a request was answered within [ProbeInterval]; nothing else.
// While it is not up, lanes are not opened, so a dead uplink costs one try per
// back-off, however many partitions wait.
//
// # Finding the position
//
// After a crash the cursor says where this gateway knew it was. What the
// cluster has is found, in this order, by
//
//  1. DescribeProducers: the leader's last sequence number of our producer id.
//     One request, exact. Brokers list it until the id expires (a day on Kafka).
//  2. If batches are in doubt: reading the headers of the batches that followed
//     our last acknowledged one upstream, for the highest sequence of our id.
//     Needs nothing that a broker may forget, but brings what others wrote too.
//  3. The cursor as it is.
//
// READ on the topic is needed for 1 and 2, WRITE for all.
package kafkasink
