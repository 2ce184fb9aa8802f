package replica

// Rules are bits that switch rules of the protocol off. Each brings back a
// fault that some replicated log has had; tests show that it is found.
type Rules uint32

const (
	WithoutEpochTruncation  Rules = 1 << iota // cut back to the own high watermark (before KIP-101)
	WithoutEpochWalk                          // one look at the epochs must do (before KIP-279)
	WithoutEpochCheck                         // answer and believe whatever the epoch (before KIP-320)
	WithoutUnion                              // count the old ISR until the answer is there (before KIP-497)
	WithoutIncarnation                        // one process of a gateway is like the next (before KIP-380, KIP-903)
	WithoutEpochStart                         // join the ISR at the high watermark alone (Kip320.tla)
	WithoutMinISRWatermark                    // the high watermark moves with too few in sync (before KIP-966)
	WithoutTruncateFirst                      // the high watermark moves before the cut (KAFKA-14704)
	WithoutRestartTogether                    // log start moves, the high watermark stays (KAFKA-9491)
	WithoutSyncedEnd                          // count what is written but not synced
	WithoutPositionCheck                      // believe an answer to an older question
	WithoutCutCheck                           // a cut that comes late is made, and a sync from before it counts
	WithoutProducerCheck                      // append what was appended before
	WithoutProducerRollback                   // remember batches that were cut off
	WithoutAssertions                         // let the checker find out, not the partition itself
)

func (p *Partition) without(r Rules) bool { return p.opt.Without&r != 0 }
