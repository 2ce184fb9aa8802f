package mqtt

import (
	"math/rand/v2"
	"testing"

	"cistern/bridge/mqtt/packet"
)

// Whatever the order in which entries settle, they leave in the order they
// came, each once, none early.
func TestAckQueueKeepsOrder(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var q AckQueue
		var open []uint64
		settled := map[uint64]packet.Reason{}
		next, left := uint64(0), uint64(0)
		for step := 0; step < 400 || len(open) > 0; step++ {
			if step < 400 && rng.IntN(2) == 0 {
				if got := q.Push(uint16(next), 1); got != next {
					t.Fatalf("seed %d: seq %d, want %d", seed, got, next)
				}
				open = append(open, next)
				next++
			} else if len(open) > 0 {
				i := rng.IntN(len(open))
				settled[open[i]] = packet.Reason(rng.IntN(2) * 0x97)
				q.Settle(open[i], settled[open[i]])
				open = append(open[:i], open[i+1:]...)
			}
			for {
				a, ok := q.Pop()
				reason, due := settled[left]
				if ok != due {
					t.Fatalf("seed %d: Pop says %v for %d, which is settled: %v", seed, ok, left, due)
				}
				if !ok {
					break
				}
				if a.PacketID != uint16(left) || a.Reason != reason {
					t.Fatalf("seed %d: got %+v, want id %d %s", seed, a, left, reason)
				}
				left++
			}
		}
		if left != next || q.Len() != 0 || len(q.ring) > ackRingMin {
			t.Fatalf("seed %d: %d of %d left, %d remain, ring of %d", seed, left, next, q.Len(), len(q.ring))
		}
	}
}

func TestAckQueueIgnoresStrangers(t *testing.T) {
	var q AckQueue
	q.Settle(0, packet.Success)
	seq := q.Push(7, 1)
	q.Settle(seq+1, packet.Success)
	if _, ok := q.Pop(); ok {
		t.Error("an entry left that was never settled")
	}
	if !q.Waiting(7) || q.Waiting(8) {
		t.Error("Waiting is wrong")
	}
	q.Settle(seq, packet.Success)
	if q.Waiting(7) {
		t.Error("a settled entry is still waited for")
	}
}

func TestAckQueueSteadyStateAllocatesNothing(t *testing.T) {
	var q AckQueue
	seq := q.Push(1, 1)
	n := testing.AllocsPerRun(1000, func() {
		next := q.Push(2, 1)
		q.Settle(seq, packet.Success)
		q.Pop()
		seq = next
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
