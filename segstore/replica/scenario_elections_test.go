package replica

import (
	"errors"
	"fmt"
	"testing"

	"cistern/gossip/metadata"
)

// Scenario 1 (KIP-101, first): B has m1 and not the high watermark that covers
// it; B restarts and hears one answer of A, A dies, B leads.
func TestScenario01RestartBeforeTheWatermark(t *testing.T) {
	scenario(t, WithoutEpochTruncation, func(w *world) string {
		w.agree(A, everybody, everybody...)
		w.append(A)
		w.sync(A)
		w.follow(A, B, C)
		w.keep(B)
		w.append(A)
		w.sync(A)
		w.fetch(A, B)
		w.fetch(A, C)
		w.answer(A, B, w.ask(B)) // A hears that B has m1; B does not hear the answer
		w.answer(A, C, w.ask(C))
		if hw := w.nodes[A].HighWatermark(); hw != 2 {
			return fmt.Sprintf("m1 is on all three, and A confirms up to %d", hw)
		}
		w.start(B)
		w.tell(A, B)
		w.fetch(A, B)
		w.agree(B, []metadata.NodeID{B, C}, B, C)
		if end := w.nodes[B].log.PlacedOffset(); end != 2 {
			return fmt.Sprintf("m1 was confirmed, and B leads with a log that ends at %d", end)
		}
		return ""
	})
}

// Scenario 2 (KIP-101, second): all lose power, unsynced tails differ, the one
// with the shorter log leads.
func TestScenario02AllLosePower(t *testing.T) {
	scenario(t, WithoutSyncedEnd, func(w *world) string {
		w.agree(A, everybody, everybody...)
		w.append(A)
		w.sync(A)
		w.follow(A, B, C)
		w.append(A)
		for range 2 {
			for _, n := range []metadata.NodeID{B, C} {
				if _, r, ok := w.nodes[n].NextFetch(); ok {
					a := w.answer(A, n, r)
					s := w.nodes[n].Fetched(w.now, r, &a)
					w.copy(n, &s) // placed, not synced
				}
			}
		}
		shown := w.nodes[A].HighWatermark()
		w.nodes[B].log.sync() // B alone was in time
		for _, n := range everybody {
			w.power(n)
		}
		w.agree(C, []metadata.NodeID{C, A, B}, everybody...)
		w.append(C)
		w.sync(C)
		w.follow(C, A, B)
		w.same(A, B, C)
		if shown > 1 {
			return fmt.Sprintf("records below %d were confirmed, and a power cut took one", shown)
		}
		return ""
	})
}

// Scenario 3 (KIP-279): two elections in a row, each leader writes what nobody
// copies; one returns with an epoch that the last leader never had.
func TestScenario03TwoFastElections(t *testing.T) {
	scenario(t, WithoutEpochWalk, func(w *world) string {
		w.agree(A, everybody, everybody...)
		w.append(A)
		w.sync(A)
		w.follow(A, B, C)
		w.append(A)
		w.sync(A)
		w.fetch(A, B) // 0@1 1@1 at A and B, 0@1 at C
		w.agree(C, everybody, C)
		for range 3 {
			w.append(C) // 1@2 2@2 3@2 at C
		}
		w.sync(C)
		w.agree(B, everybody, B)
		w.append(B) // 2@3 at B
		w.sync(B)
		w.agree(C, everybody, B, C)
		w.append(C)
		w.sync(C)
		w.follow(C, B)
		if !w.equal(B, C) {
			return fmt.Sprintf("B has %s, its leader %s", w.nodes[B].log, w.nodes[C].log)
		}
		return ""
	})
}

// Scenario 4 (KIP-320): A is cut from the controller but not from B, and goes
// on in its epoch when B has heard of the next.
func TestScenario04LeaderCutFromTheController(t *testing.T) {
	scenario(t, WithoutEpochCheck, func(w *world) string {
		w.agree(A, []metadata.NodeID{A, B}, everybody...)
		w.append(A)
		w.sync(A)
		w.follow(A, B)
		w.state.Unclean++
		w.agree(C, []metadata.NodeID{C}, B, C)
		w.append(A)
		w.sync(A)
		for range 2 {
			r := w.ask(B) // meant for C, and A gets it
			a := w.answer(A, B, r)
			if w.rules == 0 && a.Err != ErrUnknownLeaderEpoch {
				return fmt.Sprintf("A, of an older epoch, answers %+v", a)
			}
			w.take(B, r, a)
		}
		if hw := w.nodes[A].HighWatermark(); hw != 1 {
			return fmt.Sprintf("A confirms up to %d in an epoch that is over", hw)
		}
		late := FetchPartition{Partition: partition, LeaderEpoch: 1, Offset: 1, LastEpoch: 1}
		if a := w.answer(C, B, late); a.Err != ErrFencedLeaderEpoch {
			return fmt.Sprintf("C answers a request of an older epoch: %+v", a)
		}
		return ""
	})
}

// Scenario 5 (Kip320.tla, rule 2): a leader answers a question about where logs
// part, and is none any more when the answer arrives.
func TestScenario05AnswerOfALeaderThatWas(t *testing.T) {
	scenario(t, WithoutEpochCheck, func(w *world) string {
		w.agree(B, everybody, everybody...)
		w.append(B)
		w.sync(B)
		w.follow(B, A, C)
		w.append(B)
		w.sync(B)
		w.fetch(B, C) // 1@1 at B and C, not at A
		w.agree(A, everybody, everybody...)
		r := w.ask(B)
		late := w.answer(A, B, r)
		if late.Diverging == nil {
			return "A does not see that B's log goes another way"
		}
		w.agree(C, []metadata.NodeID{C, B}, B, C)
		w.follow(C, B)
		if hw := w.nodes[C].HighWatermark(); hw != 2 {
			return fmt.Sprintf("B and C have 1@1, and C confirms up to %d", hw)
		}
		w.take(B, r, late)
		if end := w.nodes[B].log.PlacedOffset(); end != 2 {
			return fmt.Sprintf("B cut back to %d what was confirmed", end)
		}
		return ""
	})
}

// Scenario 6 (KIP-966): all followers lag, A is alone in the ISR and loses power.
func TestScenario06AloneInTheISR(t *testing.T) {
	scenario(t, WithoutMinISRWatermark, func(w *world) string {
		w.agree(A, everybody, everybody...)
		w.append(A)
		w.sync(A)
		w.follow(A, B, C)
		w.append(A)
		w.sync(A)
		w.effects(A, w.nodes[A].Tick(w.now))
		w.now += 2*ReplicaLagMaxDefault + 1
		w.effects(A, w.nodes[A].Altered(w.now, w.nodes[A].asks, w.grant(A), nil))
		if n := len(w.state.ISR); n != 1 {
			return fmt.Sprintf("B and C are silent, and %d are in sync", n)
		}
		if hw := w.nodes[A].HighWatermark(); hw != 1 {
			return fmt.Sprintf("A alone shows records up to %d", hw)
		}
		if err := w.tryAppend(A, metadata.AcksAll, noProducer); !errors.Is(err, ErrNotEnoughReplicas) {
			return fmt.Sprintf("A alone takes records: %v", err)
		}
		return ""
	})
}

// Scenario 7: the last one in sync is gone for good. Nobody leads; after an
// unclean election what is given up is named, and without one nobody cuts back
// what was confirmed.
func TestScenario07LastReplica(t *testing.T) {
	for _, unclean := range []int32{0, 1} {
		w := newWorld(t, 0)
		w.agree(A, everybody, everybody...)
		for range 3 {
			w.append(A)
		}
		w.sync(A)
		w.follow(A, B)
		w.fetch(A, C)
		w.state.Unclean = unclean
		w.follow(A, B, C)
		w.agree(metadata.NoNode, nil, everybody...)
		for _, n := range everybody {
			if r := w.nodes[n].Role(); r != RoleIdle {
				t.Fatalf("nobody leads, and %d is %s", n, r)
			}
		}
		w.nodes[C].log.cut(1) // as one that never had more
		w.nodes[C].kept = 1
		w.start(C)
		w.agree(C, []metadata.NodeID{C}, B, C)
		r := w.ask(B)
		a := w.answer(C, B, r)
		s := w.nodes[B].Fetched(w.now, r, &a)
		switch {
		case unclean == 0 && (s.Broken == "" || s.Truncate):
			t.Fatalf("B gives up confirmed records without an unclean election: %+v", s)
		case unclean == 1 && (s.Broken != "" || !s.Truncate || s.Offset != 1 || s.Lost != 2 || s.HighWatermark != 1):
			t.Fatalf("after an unclean election: %+v", s)
		}
	}
}
