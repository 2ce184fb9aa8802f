package kafkasink

import (
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cistern/gossip/metadata"
)

// TestPrice counts the requests that a batch costs in each mode: of a backlog,
// and of batches that come one by one. DESIGN.md has the table.
func TestPrice(t *testing.T) {
	t.Parallel()
	for mode, most := range map[Mode][2]float64{
		ModeSequence:    {1.1, 1.1},
		ModeAtLeastOnce: {1.1, 1.1},
		ModeTransaction: {1.4, 5},
	} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			c := fakeCentral(t, kfake.SeedTopics(1, "price")).as(mode)
			log := newLog("price", 0).fill(t, 1, 10)
			g := c.gateway(in(mode, nil), log)
			g.drained(log) // what it costs to begin is not counted
			var counts []*kfake.FaultHandle
			for _, key := range []kmsg.Key{kmsg.Produce, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn,
				kmsg.InitProducerID, kmsg.ListOffsets, kmsg.Fetch, kmsg.FindCoordinator, kmsg.OffsetFetch, kmsg.DescribeProducers} {
				counts = append(counts, c.count(key))
			}
			total := func() (n int) {
				for _, h := range counts {
					n += h.Hits()
				}
				return n
			}
			perBatch := func(batches int, drain func()) float64 {
				before := total()
				drain()
				return float64(total()-before) / float64(batches)
			}
			// What feeds a transaction may stand still, which ends it early: the best
			// of some tries counts.
			const tries = 3
			per := [2]float64{math.Inf(1), math.Inf(1)}
			for n := 0; n < tries && (per[0] > most[0] || per[1] > most[1]); n++ {
				backlog := perBatch(640, func() {
					log.fill(t, 640, 10)
					g.drained(log)
				})
				trickle := perBatch(20, func() {
					for range 20 {
						log.append(t, 10, metadata.CodecZstd)
						g.drained(log)
					}
				})
				t.Logf("requests per batch: backlog %.2f, one by one %.2f", backlog, trickle)
				per = [2]float64{min(per[0], backlog), min(per[1], trickle)}
			}
			g.stop()
			if per[0] > most[0] || per[1] > most[1] {
				t.Errorf("requests per batch are %.2f, want at most %v", per, most)
			}
			c.expect("price", 0, log.id, offsets(0, log.HighWatermark()))
		})
	}
}
