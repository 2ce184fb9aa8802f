// Package kafkasink drains to a Kafka cluster, in one of three modes:
//
//	sequence       the broker's idempotence check admits each record once
//	transaction    the position is committed together with the records
//	at_least_once  a record may come twice, and says which it is
//
// [ModeAuto] asks the brokers what they can do, and says what it chose and why.
// DESIGN.md beside this file has what each mode costs, and what it can't.
//
// # Sequence mode
//
// Each partition of the site has a producer id of its own upstream, and a
// record's sequence number follows from its offset alone. Whoever sends it,
// however often, sends the same (producer, epoch, sequence), and the broker
// stores one. Nothing is ever aborted, so readers of any isolation level see
// every record once.
//
//	lanes (one per partition and flow)     senders (one per broker and flow)
//	┌ sensors/0 ┐  Send: header rewritten   ┌ queue, order of Send ┐   one connection,
//	│ pid 17    │──────────────────────────▶│ one batch of each    │──▶ up to 5 requests
//	├ sensors/1 ┤                           │ partition in a       │    in flight, as many
//	│ pid 18    │──────────────────────────▶│ request, ≤ 1 MiB     │    bytes as a window
//	└───────────┘                           └──────────────────────┘    allows
//
// Live and backfill have connections of their own, so that a backlog's bytes do
// not stand before fresh ones. A window bounds what is on its way to what the
// link passes in a third of the request timeout: a slow link is not a dead one.
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
// After a crash the cursor says where this gateway knew it was. What the
// cluster has is found, in this order, by
//
//  1. DescribeProducers: the leader's last sequence number of our producer id.
//     One request, exact. Brokers list it until the id expires (a day on Kafka).
//  2. If batches are in doubt: reading the headers of the batches that followed
//     our last acknowledged one upstream, for the highest sequence of our id.
//     Needs nothing that a broker may forget, but brings what others wrote too.
//  3. If our sequence is refused and 2 explains nothing, the batches before
//     there: upstream lost records, and they are sent again.
//  4. The cursor as it is.
//
// READ on the topic is needed for 1 to 3, WRITE for all.
//
// # Transaction mode
//
// Each incarnation of a cursor has a transactional id, and a group of that name
// whose one offset is the position:
//
//	cistern/<site>/<stream>/<partition>/<number that no other incarnation has>
//
// Opening a lane takes the id over, which fences whoever had it and aborts what
// was open, and only then reads the group's offset. A lane makes transactions
// of what is queued, one after the other:
//
//	coordinator   AddPartitionsToTxn ─┬─ AddOffsetsToTxn ──┐             EndTxn ─▶ done
//	leader                            └─ Produce, up to 5 ─┤            ┌┘
//	group                                in flight         └ TxnOffsetCommit
//
// A batch's result is told when its transaction is committed. A failure of any
// kind ends the lane; what stood before a batch that was refused for good is
// still committed.
//
// # At least once
//
// Batches carry no producer id, nothing is looked up, and the cursor alone says
// where to go on. Every record gets the header cistern.id, the same whenever it
// is sent (see drain.Traits).
package kafkasink
