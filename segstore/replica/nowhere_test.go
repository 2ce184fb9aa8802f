package replica

import (
	"testing"
	"time"

	"cistern/gossip/metadata"
)

// renewed starts a follower with an empty card.
func (w *town) renewed(g *box) {
	w.t.Helper()
	g.dir = w.t.TempDir()
	g.start()
}

// ends says where a gateway's copy begins and ends.
func (g *box) ends() (start, end int64) {
	log := g.store.Log(townStream)
	return log.StartOffset(), log.EndOffset()
}

// TestNowhereFront: a leader that lost what its log begins with, and that nobody else
// has, fills an empty card with the rest.
func TestNowhereFront(t *testing.T) {
	for name, restarted := range map[string]bool{"running": false, "found at its start": true} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t, 2, 2, 1)
			w.insist((&producerDouble{id: 1<<40 + 9}).batch(t, 10), metadata.PartitionID{Stream: "s", Partition: 1})
			sent := w.fill(&producerDouble{id: 1<<40 + 7}, 30)
			w.agree(townStream, 300)
			lead := w.leader(townStream)
			fresh := w.others(lead)[0]
			fresh.kill()
			w.fence(fresh)
			if restarted {
				lead.kill()
				w.fence(lead)
			}
			lead.rot(sent[0])
			lead.rot(sent[1])
			if restarted {
				lead.start()
				elect := &metadata.Elect{Partition: townStream, Node: lead.node, PartitionEpoch: -1, Unclean: true}
				if r := w.propose(metadata.Change{Elect: elect}); r.Err() != nil {
					t.Fatal(r.Err())
				}
			}
			w.renewed(fresh)
			w.until("in sync", func() bool { return w.joined(fresh) })
			w.agreeMended(fresh, 300)
			if start, end := fresh.ends(); start != 20 || end != 300 {
				t.Errorf("the new card holds %d to %d", start, end-1)
			}
			if _, lost := lead.readMending(); lost != 20 {
				t.Errorf("%d records lost on the leader, want 20 that are counted", lost)
			}
		})
	}
}

// TestNowhereMiddle: a follower with records in front of what nobody has keeps them as
// long as they are needed upstream. Then it goes on behind.
func TestNowhereMiddle(t *testing.T) {
	w := newTown(t, 2, 1, 1)
	sent := w.fill(&producerDouble{id: 1<<40 + 7}, 30)
	w.agree(townStream, 300)
	lead := w.leader(townStream)
	fresh := w.others(lead)[0]
	fresh.kill()
	w.fence(fresh)
	lead.rot(sent[7])
	lead.rot(sent[20])
	w.renewed(fresh)
	w.until("told", func() bool {
		s := lead.m.Views()[0].Starved
		return s != nil && *s == Starved{70, 79}
	})
	time.Sleep(3 * tickInterval) // in which it might begin anew
	if start, end := fresh.ends(); start != 0 || end != 70 || w.joined(fresh) {
		t.Fatalf("the new card holds %d to %d, in sync: %v", start, end-1, w.joined(fresh))
	}
	lead.store.Log(townStream).SetDrained(79)
	time.Sleep(fetchRetryMax)
	if start, end := fresh.ends(); start != 0 || end != 70 {
		t.Fatalf("the new card holds %d to %d, and not all was drained", start, end-1)
	}
	lead.store.Log(townStream).SetDrained(80)
	w.until("at the next hole", func() bool { _, end := fresh.ends(); return end == 200 })
	if start, _ := fresh.ends(); start != 80 {
		t.Errorf("begins at %d", start)
	}
	lead.store.Log(townStream).SetDrained(210)
	w.until("in sync", func() bool { return w.joined(fresh) })
	w.agreeMended(fresh, 300)
	if start, end := fresh.ends(); start != 210 || end != 300 {
		t.Errorf("the new card holds %d to %d", start, end-1)
	}
	if start, _ := lead.ends(); start != 0 {
		t.Errorf("the leader gave up what lies below %d", start)
	}
}
