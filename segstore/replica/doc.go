// Package replica keeps the copies of a partition equal, and says when a
// record is safe.
//
// One gateway leads a partition, the others follow. Who does what, the site
// agrees on (gossip/quorum); this package carries it out and never decides it.
//
//	ingress ──Produce──▶ leader ◀──Fetch── follower ──▶ its log
//	                       │  ▲
//	       AlterPartition  │  │  Image: leader, epoch, ISR
//	                       ▼  │
//	                      quorum
//
// A follower asks for what comes after its synced end, appends the same bytes,
// syncs, and asks again. The question is the acknowledgement: whoever asks for
// offset 8 has 0 to 7 on flash.
//
//	leader    0 1 2 3 4 5 6 7 8 9          written, 0 to 7 synced
//	follower  0 1 2 3 4 5                  synced
//	follower  0 1 2 3 4 5 6 7              synced
//	                      ▲
//	                      └ high watermark: the lowest synced end of all in sync.
//	                        Below it a record is confirmed, shown, drained. Above
//	                        it anything may still be cut off.
//
// The ISR, the in-sync replicas, is whom a confirmation waits for. A follower that
// lags leaves it, so that one bad card stops nobody; one that has caught up joins.
// The leader asks, the quorum grants. As long as the answer is not known, both the
// old ISR and the one asked for count.
//
// Every change of leader begins an epoch, and each batch carries the epoch it was
// written in, so (offset, epoch) names one batch for ever. Logs that parted find
// back together by comparing where epochs end:
//
//	new leader   0 1 2 3│4 5 6│7           epochs 1, 2 and 4
//	was leader   0 1 2 3│4 5 6│7 8         epochs 1, 2 and 3: 7 and 8 were never confirmed
//	                          ▲
//	                          └ epoch 2 ends here in both: cut back to 7, go on in epoch 4
//
// The parts:
//
//   - [Partition] is the protocol, pure: no goroutine, clock, socket or file.
//     The simulator in cross/sim runs this very code. watermark.go is the commit
//     rule alone; leader.go, isr.go and follower.go are the roles.
//   - [Producers] tells a batch that was sent twice from a new one, and survives a
//     change of leader, since followers learn it from the batches they copy.
//   - [Manager] joins partitions with the journal, the other gateways and the
//     quorum. It has one fetcher for each gateway that it follows, and everything
//     of one answer is one commit.
//   - Manager.Mend fetches from another copy what flash lost here; mend.go, recall.go
//     and, for a start with damage, heal.go.
//   - [Peers] and [Service] are what gateways ask of each other.
//
// DESIGN.md says why it is so and what it costs. [Rules] lists what can go wrong in
// a replicated log, by switching off what prevents it.
package replica
