package replica

import (
	"fmt"
	"slices"
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// parted gives B a record that the leader A of the next epoch never had, while
// A and C have confirmed others at its place.
func parted(w *world) {
	w.agree(B, everybody, everybody...)
	w.append(B)
	w.sync(B)
	w.follow(B, A, C)
	w.append(B) // 1@1 at B alone
	w.sync(B)
	w.agree(A, []metadata.NodeID{A, C}, everybody...)
	w.append(A)
	w.append(A)
	w.sync(A)
	w.follow(A, C) // 1@2 2@2 at A and C
}

// Scenario 13 (KAFKA-14704): the answer says at once that the logs part and
// that the high watermark is higher.
func TestScenario13TruncateFirst(t *testing.T) {
	scenario(t, WithoutTruncateFirst, func(w *world) string {
		parted(w)
		r := w.ask(B)
		a := w.answer(A, B, r)
		s := w.nodes[B].Fetched(w.now, r, &a)
		if !s.Truncate || s.Offset != 1 || a.HighWatermark != 3 {
			return fmt.Sprintf("answer %+v, step %+v", a, s)
		}
		if hw := w.nodes[B].HighWatermark(); hw != 1 {
			return fmt.Sprintf("B shows records up to %d that it is about to cut off", hw)
		}
		return ""
	})
}

// Scenario 14: a sync that began before a cut ends after it.
func TestScenario14SyncFromBeforeTheCut(t *testing.T) {
	scenario(t, WithoutCutCheck, func(w *world) string {
		parted(w)
		w.min = 1
		r := w.ask(B)
		a := w.answer(A, B, r)
		s := w.nodes[B].Fetched(w.now, r, &a)
		if err := w.nodes[B].AdmitCut(&s); err != nil {
			return err.Error()
		}
		w.nodes[B].log.cut(s.Offset)
		w.nodes[B].log.stale = 2 // what the journal says until the cut is on flash
		w.state.Unclean++
		w.agree(B, []metadata.NodeID{B}, B)
		w.append(B)
		w.effects(B, w.nodes[B].Synced(w.now))
		if hw := w.nodes[B].HighWatermark(); hw != 1 {
			return fmt.Sprintf("the high watermark is %d: bytes count as synced that were written since", hw)
		}
		w.nodes[B].log.stale = -1
		w.effects(B, w.nodes[B].Truncated(s.Offset))
		w.sync(B)
		if hw := w.nodes[B].HighWatermark(); hw != 2 {
			return fmt.Sprintf("all is on flash, and the high watermark is %d", hw)
		}
		return ""
	})
}

// Scenario 14, the other way round: a cut that waited in the journal's queue is
// placed when the log has gone on.
func TestScenario14CutThatComesLate(t *testing.T) {
	scenario(t, WithoutCutCheck, func(w *world) string {
		parted(w)
		r := w.ask(B)
		a := w.answer(A, B, r)
		late := w.nodes[B].Fetched(w.now, r, &a)
		w.take(B, r, a) // the same again, carried out
		w.follow(A, B)
		w.carryOut(B, &late)
		if end := w.nodes[B].log.PlacedOffset(); end != 3 {
			return fmt.Sprintf("B told A that it has 3 records, and then cut back to %d", end)
		}
		return ""
	})
}

// Scenario 15 (KAFKA-9491, KAFKA-7414): the leader no longer has what comes
// next. Log start and high watermark move together, and nothing is fatal.
func TestScenario15BelowTheLeadersStart(t *testing.T) {
	scenario(t, WithoutRestartTogether, func(w *world) string {
		w.agree(A, []metadata.NodeID{A, C}, everybody...)
		for range 4 {
			w.append(A)
		}
		w.sync(A)
		w.follow(A, C)
		w.nodes[A].log.expire(3)
		s := w.fetch(A, B)
		if !s.Restart || s.Offset != 3 {
			return fmt.Sprintf("%+v", s)
		}
		g := w.nodes[B]
		if hw, start := g.HighWatermark(), g.log.StartOffset(); hw < start {
			return fmt.Sprintf("the log starts at %d, the high watermark is %d", start, hw)
		}
		w.follow(A, B)
		if end := g.log.PlacedOffset(); end != 4 {
			return fmt.Sprintf("B goes on to %d", end)
		}
		return ""
	})
}

// An empty log that stands where no batch begins, or beyond the leader's end,
// begins anew as well.
func TestEmptyLogOutOfRange(t *testing.T) {
	w := newWorld(t, 0)
	w.agree(A, []metadata.NodeID{A, C}, everybody...)
	for range 2 {
		w.append(A)
	}
	w.sync(A)
	w.follow(A, C)
	w.nodes[B].log.restart(7)
	w.state.Unclean++
	w.start(B)
	w.tell(A, B)
	w.follow(A, B)
	w.same(A, B)
}

// Scenario 16: everything comes twice, late, and from epochs ago.
func TestScenario16LateAndTwice(t *testing.T) {
	scenario(t, WithoutPositionCheck, func(w *world) string {
		parted(w)
		r := w.ask(B)
		a := w.answer(A, B, r)
		w.take(B, r, a)
		w.follow(A, B)
		w.take(B, r, a) // the cut, again
		if end := w.nodes[B].log.PlacedOffset(); end != 3 {
			return fmt.Sprintf("B told A that it has 3 records, and then cut back to %d", end)
		}
		w.append(A)
		w.sync(A)
		r = w.ask(B)
		a = w.answer(A, B, r)
		w.take(B, r, a)
		w.take(B, r, a)
		w.answer(A, B, r) // A hears the older question after the newer
		w.follow(A, B, C)
		w.same(A, B, C)
		if hw := w.nodes[A].HighWatermark(); hw != 4 {
			return fmt.Sprintf("all have all, and A confirms up to %d", hw)
		}
		return ""
	})
}

// Scenario 37, at this level: what producers have sent is known to the next
// leader, and what was cut off is not.
func TestScenario37ProducersAfterFailover(t *testing.T) {
	send := func(w *world, n metadata.NodeID, sequence int32) error {
		return w.tryAppend(n, metadata.AcksAll, batch.Producer{ID: 1 << 62, Sequence: sequence})
	}
	t.Run("known", func(t *testing.T) {
		scenario(t, WithoutProducerCheck, func(w *world) string {
			w.agree(A, everybody, everybody...)
			if err := send(w, A, 0); err != nil {
				return err.Error()
			}
			w.sync(A)
			w.follow(A, B, C)
			w.agree(B, []metadata.NodeID{B, C}, B, C)
			send(w, B, 0) // sent again: the answer was lost
			if end := w.nodes[B].log.PlacedOffset(); end != 1 {
				return fmt.Sprintf("the record is there %d times", end)
			}
			return ""
		})
	})
	t.Run("cut off", func(t *testing.T) {
		scenario(t, WithoutProducerRollback, func(w *world) string {
			w.agree(A, everybody, everybody...)
			w.append(A)
			w.sync(A)
			w.follow(A, B, C)
			if err := send(w, A, 0); err != nil {
				return err.Error()
			}
			w.sync(A)
			w.agree(B, everybody, everybody...)
			w.append(B)
			w.sync(B)
			w.follow(B, A, C)
			w.agree(A, everybody, everybody...)
			if err := send(w, A, 0); err != nil {
				return fmt.Sprintf("the record is not there, and A says %v", err)
			}
			return ""
		})
	})
}

// Scenario 28: flash lost what it had confirmed. The gateway sees it at the
// start, from the high watermark that it kept; its leader sees it at the first
// question, and asks for an ISR without it at once.
func TestScenario28FlashThatLied(t *testing.T) {
	w := newWorld(t, 0)
	w.agree(A, everybody, everybody...)
	for range 3 {
		w.append(A)
	}
	w.sync(A)
	w.follow(A, B, C)
	w.keep(B)
	w.nodes[B].log.cut(1)
	w.start(B)
	if n := w.nodes[B].Missing(); n != 2 || w.nodes[B].HighWatermark() != 1 {
		t.Fatalf("%d are missing, the high watermark is %d", n, w.nodes[B].HighWatermark())
	}
	w.tell(A, B)
	w.answer(A, B, w.ask(B))
	if a := w.nodes[A].asks; a == nil || slices.Contains(a.ISR, B) {
		t.Fatalf("B lacks what was confirmed, and A asks for %+v", a)
	}
	w.follow(A, B)
	w.same(A, B, C)
}
