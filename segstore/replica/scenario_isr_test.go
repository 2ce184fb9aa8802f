package replica

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

var noProducer = batch.NoProducer

// Scenario 8 (Kip320.tla, rule 4): a new leader's high watermark is older than
// what was confirmed; a follower that has caught up to that alone must not join.
func TestScenario08JoinAtTheEpochsStart(t *testing.T) {
	scenario(t, WithoutEpochStart, func(w *world) string {
		w.agree(A, []metadata.NodeID{A, B}, everybody...)
		w.append(A)
		w.append(A)
		w.sync(A)
		w.fetch(A, B)
		w.answer(A, B, w.ask(B))
		if hw := w.nodes[A].HighWatermark(); hw != 2 {
			return fmt.Sprintf("A confirms up to %d", hw)
		}
		w.agree(B, []metadata.NodeID{B}, B, C)
		w.answer(B, C, w.ask(C)) // C has nothing
		if a := w.nodes[B].asks; a != nil {
			return fmt.Sprintf("B asks for the ISR %v, and C lacks what was confirmed", a.ISR)
		}
		w.follow(B, C)
		if a := w.nodes[B].asks; a == nil || !slices.Contains(a.ISR, C) {
			return "C has everything, and B does not ask for it"
		}
		return ""
	})
}

// Scenario 9 (KIP-497): an expansion is agreed on and the answer lost.
func TestScenario09AnswerToAnExpansionLost(t *testing.T) {
	scenario(t, WithoutUnion, func(w *world) string {
		w.agree(A, []metadata.NodeID{A, B}, everybody...)
		w.append(A)
		w.sync(A)
		w.follow(A, B, C)
		w.grant(A) // {A B C}, and A does not know
		w.effects(A, w.nodes[A].Altered(w.now, w.nodes[A].asks, metadata.Result{}, errors.New("no answer")))
		w.append(A)
		w.sync(A)
		w.follow(A, B)
		if hw := w.nodes[A].HighWatermark(); hw != 1 {
			return fmt.Sprintf("C may be in sync and lead next, it has no 1@1, and A confirms up to %d", hw)
		}
		w.now += alterRetryMin
		w.nodes[A].asks = nil
		w.effects(A, w.nodes[A].Tick(w.now))
		if w.nodes[A].asks == nil {
			return "A does not ask again"
		}
		w.tell(A)
		w.follow(A, B, C)
		if hw := w.nodes[A].HighWatermark(); hw != 2 {
			return fmt.Sprintf("all have 1@1, and A confirms up to %d", hw)
		}
		return ""
	})
}

// A refusal ends a request: nobody else's log is waited for any more, and what
// is asked next is another request.
func TestRefusedExpansionIsForgotten(t *testing.T) {
	w := newWorld(t, 0)
	w.agree(A, []metadata.NodeID{A, B}, everybody...)
	w.append(A)
	w.sync(A)
	w.follow(A, B, C)
	first := w.nodes[A].asks
	c := w.state.Clone()
	refusal := metadata.Refusal(metadata.ErrIneligibleReplica, "fenced")
	refusal.Partition = &c
	w.effects(A, w.nodes[A].Altered(w.now, first, refusal, nil))
	w.append(A)
	w.sync(A)
	w.follow(A, B)
	if hw := w.nodes[A].HighWatermark(); hw != 2 {
		t.Fatalf("A waits for C: it confirms up to %d", hw)
	}
	w.follow(A, C)
	w.now += alterRetryMin
	w.effects(A, w.nodes[A].Tick(w.now))
	second := w.nodes[A].asks
	if second == first || second == nil {
		t.Fatal("A does not ask again for C")
	}
	w.effects(A, w.nodes[A].Altered(w.now, first, refusal, nil)) // late, about the first
	w.append(A)
	w.sync(A)
	w.follow(A, B)
	if hw := w.nodes[A].HighWatermark(); hw != 2 {
		t.Fatalf("the second request is undecided, and A confirms up to %d without C", hw)
	}
}

// Scenario 10 (KIP-903): B catches up, loses its card and is back, empty: what
// it had in its former life makes nobody ask for it.
func TestScenario10CaughtUpInAFormerLife(t *testing.T) {
	scenario(t, WithoutIncarnation, func(w *world) string {
		w.agree(A, []metadata.NodeID{A, C}, everybody...)
		w.append(A)
		w.sync(A)
		w.follow(A, C)
		old := w.ask(B)
		old.Offset, old.LastEpoch = 1, 1
		w.nodes[A].Partition.alter.notYet = w.now + 1 // whatever A asks for, it asks later
		w.answer(A, B, old)
		w.nodes[B].log.restart(0)
		w.start(B)
		w.tell(A, B)
		w.now += 2
		w.effects(A, w.nodes[A].Tick(w.now))
		if a := w.nodes[A].asks; a != nil && slices.Contains(a.ISR, B) {
			return fmt.Sprintf("A asks for %v in incarnations %v, and B is empty", a.ISR, a.Incarnations)
		}
		if a, _, _ := w.nodes[A].Fetch(w.now, B, w.incs[B]-1, &old); a.Err != ErrStaleIncarnation {
			return fmt.Sprintf("A hears a request of B's former life: %+v", a)
		}
		return ""
	})
}

// The same, seen by the controller: the request names the life in which B had
// caught up.
func TestScenario10RequestNamesTheIncarnation(t *testing.T) {
	w := newWorld(t, 0)
	w.agree(A, []metadata.NodeID{A, C}, everybody...)
	w.append(A)
	w.sync(A)
	w.follow(A, B, C)
	a := w.nodes[A].asks
	if i := slices.Index(a.ISR, B); i < 0 || a.Incarnations[i] != w.incs[B] {
		t.Fatalf("%+v", a)
	}
}

// Scenarios 11 and 12 (KIP-380, KIP-570): A loses power and is back before
// anybody notices; it must not lead on in its epoch, whoever says so.
func TestScenario11BackBeforeAnybodyNotices(t *testing.T) {
	scenario(t, WithoutIncarnation, func(w *world) string {
		w.agree(A, everybody, everybody...)
		w.append(A)
		w.sync(A)
		w.follow(A, B, C)
		w.append(A)
		w.fetch(A, B) // 1@1 is at B, and not on A's flash
		w.power(A)
		w.incs[A]-- // the order was given to the process before
		w.tell(A)
		w.incs[A]++
		if w.nodes[A].Role() == RoleLeader {
			w.append(A)
			w.sync(A)
		}
		w.agree(A, everybody) // the site hears of the new life: another epoch
		w.state.LeaderEpoch++
		w.tell(everybody...)
		w.append(A)
		w.sync(A)
		w.follow(A, B, C)
		if !w.equal(A, B, C) {
			return fmt.Sprintf("A has %s, B %s", w.nodes[A].log, w.nodes[B].log)
		}
		return ""
	})
}

// Scenario 12: an older word of the site that arrives late changes nothing.
func TestScenario12OlderImage(t *testing.T) {
	w := newWorld(t, 0)
	w.agree(A, everybody)
	old := w.state.Clone()
	w.agree(B, everybody, everybody...)
	w.nodes[A].Image(w.now, &old, func(n metadata.NodeID) uint64 { return w.incs[n] }, 2)
	if r := w.nodes[A].Role(); r != RoleFollower {
		t.Fatalf("A is %s", r)
	}
	w.start(A) // before it is registered
	w.nodes[A].Registered(0)
	w.agree(A, everybody, A)
	if r := w.nodes[A].Role(); r == RoleLeader {
		t.Fatal("A leads before it has registered")
	}
}

// A leader whose journal fails must not give the same offsets to others in the
// same epoch.
func TestFailedJournalResigns(t *testing.T) {
	w := newWorld(t, 0)
	w.agree(A, everybody, everybody...)
	w.append(A)
	w.nodes[A].log.cut(0)
	if fx := w.nodes[A].Failed(); !fx.Resigned {
		t.Fatal("A leads on")
	}
	w.tell(A)
	if err := w.tryAppend(A, metadata.AcksAll, noProducer); !errors.Is(err, ErrNotLeader) {
		t.Fatalf("A takes records again in its epoch: %v", err)
	}
	w.state.LeaderEpoch++
	w.agree(A, everybody, A)
	w.append(A)
}
