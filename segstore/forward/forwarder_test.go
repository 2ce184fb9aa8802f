package forward

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/ingest"
	"cistern/segstore/replica"
)

var p0 = metadata.PartitionID{Stream: "s"}

func TestDirect(t *testing.T) {
	s := newSite(t, 2, "s")
	s.close()
	s.open(Policy{ParkAfter: time.Minute, ParkHeldAfter: time.Minute}) // an emulated processor is slow, which is not what is tested
	c := &sender{}
	s.publish(p0, 1, 500, c)
	s.until("answers", c.answered(500))
	s.expect(p0, 500)
	if _, failed := c.count(); failed != 0 || !slices.IsSorted(c.answers) {
		t.Errorf("%d failed, in order: %t", failed, slices.IsSorted(c.answers))
	}
	if logs := s.store.Logs(); len(logs) != 0 {
		t.Errorf("%d logs were made for nothing", len(logs))
	}
}

// min_insync 1: what can't reach the leader is confirmed from here, and handed
// over later, once and in order.
func TestParkingConfirms(t *testing.T) {
	for _, mood := range []error{replica.ErrNoLeader, replica.ErrNotEnoughReplicas, errHang} {
		t.Run(mood.Error(), func(t *testing.T) {
			s := newSite(t, 1, "s")
			c := &sender{}
			s.publish(p0, 1, 20, c)
			s.until("answers", c.answered(20))
			before := s.settled()
			s.setMood(mood)
			s.publish(p0, 21, 40, c)
			s.until("answers while the leader is gone", c.answered(40))
			s.publish(p0, 41, 60, c)
			s.until("answers while parking", c.answered(60))
			if st := s.f.Status(); len(st.Partitions) != 1 || st.Partitions[0].Parked != 40 || st.Counts.Confirmed-before.Confirmed != 40 {
				t.Errorf("status: %+v, before: %+v", st, before)
			}
			s.setMood(nil)
			s.answerHung()
			s.expect(p0, 60)
			s.publish(p0, 61, 80, c)
			s.expect(p0, 80)
			s.settled()
			if _, failed := c.count(); failed > 0 {
				t.Errorf("failed: %v", c.failed)
			}
		})
	}
}

// min_insync 2: parked records are held until the leader has them, and take no
// memory meanwhile; a partition of the same lane goes on.
func TestParkingHolds(t *testing.T) {
	s := newSite(t, 2, "s")
	other := metadata.PartitionID{Stream: "s", Partition: 1}
	s.mu.Lock()
	s.moodOf[p0] = errHang
	s.mu.Unlock()
	c, d := &sender{}, &sender{}
	s.publish(p0, 1, 50, c)
	s.until("parked", func() bool {
		st := s.f.Status()
		return len(st.Partitions) == 1 && st.Partitions[0].Held == 50
	})
	if all, _ := c.count(); all != 0 {
		t.Fatalf("%d records were confirmed that only one gateway has", all)
	}
	s.publish(other, 1, 100, d)
	s.until("answers for the other partition", d.answered(100))

	s.mu.Lock()
	delete(s.moodOf, p0)
	s.mu.Unlock()
	s.elect() // what hangs keeps hanging
	s.until("answers", c.answered(50))
	s.expect(p0, 50)
	if _, failed := c.count(); failed != 0 || !slices.IsSorted(c.answers) {
		t.Errorf("failed: %v, in order: %t", c.failed, slices.IsSorted(c.answers))
	}
	s.answerHung()
	s.expect(p0, 50)
}

// A gateway that restarts hands over what the process before it parked, to a
// leader that has part of it, or that remembers nothing of its producer.
func TestRestartWithABacklog(t *testing.T) {
	for _, forget := range []bool{false, true} {
		t.Run(fmt.Sprintf("forget=%t", forget), func(t *testing.T) {
			s := newSite(t, 1, "s")
			c := &sender{}
			s.publish(p0, 1, 30, c)
			s.expect(p0, 30)
			s.until("answers", c.answered(30))
			s.settled()
			s.setMood(replica.ErrNoLeader)
			for n := int64(31); n <= 90; n++ { // many batches
				s.publish(p0, n, n, c)
				if n%5 == 0 {
					s.until("answers", c.answered(int(n)))
				}
			}
			s.close()
			if all := FindWaiting(s.store); len(all) != 1 || all[0].Held-all[0].From != 60 || all[0].End != all[0].Held {
				t.Errorf("what a stopped gateway has: %+v", all)
			}
			s.mu.Lock()
			if forget {
				clear(s.leader(p0).producers)
			}
			s.mu.Unlock()
			s.open(Policy{})
			st := s.f.Status()
			if len(st.Partitions) != 1 || st.Partitions[0].Parked != 60 {
				t.Errorf("found after the restart: %+v", st)
			}
			s.publish(p0, 91, 100, c)
			s.until("answers", c.answered(100))
			s.setMood(nil)
			s.expect(p0, 100)
			if renewed := s.settled().Renewed; (renewed > 0) != forget {
				t.Errorf("%d new producers", renewed)
			}

			s.close() // and again: nothing may be handed over twice
			if all := FindWaiting(s.store); len(all) != 0 {
				t.Errorf("all is handed over, and a stopped gateway has %+v", all)
			}
			s.open(Policy{})
			if st := s.f.Status(); len(st.Partitions) != 0 {
				t.Errorf("after another restart: %+v", st)
			}
			s.publish(p0, 101, 110, c)
			s.expect(p0, 110)
		})
	}
}

// What was held by a process that is gone was confirmed to nobody: it must not
// come up after what its senders have sent since.
func TestRestartGivesUpWhatWasHeld(t *testing.T) {
	s := newSite(t, 2, "s")
	c := &sender{}
	s.publish(p0, 1, 10, c)
	s.until("answers", c.answered(10))
	s.settled()
	s.setMood(replica.ErrNoLeader)
	s.publish(p0, 11, 40, c)
	s.until("held", func() bool {
		st := s.f.Status()
		return len(st.Partitions) == 1 && st.Partitions[0].Held == 30
	})
	s.close()
	if all := FindWaiting(s.store); len(all) != 1 || all[0].From != all[0].Held || all[0].End-all[0].Held != 30 {
		t.Errorf("what a stopped gateway has: %+v", all)
	}
	s.open(Policy{})
	if st := s.f.Status(); len(st.Partitions) != 0 || st.GivenUp != 30 {
		t.Errorf("after the restart: %+v", st)
	}
	s.setMood(nil)
	s.publish(p0, 11, 20, c)
	s.expect(p0, 20)
}

func TestParkedEpochs(t *testing.T) {
	for _, c := range []struct {
		last    int32
		confirm bool
		want    int32
	}{{-1, false, 0}, {-1, true, 1}, {0, false, 0}, {0, true, 1}, {1, true, 1}, {1, false, 2}, {2, true, 3}, {7, false, 8}} {
		if got := parkedEpoch(c.last, c.confirm); got != c.want {
			t.Errorf("after %d, confirm %t: %d, want %d", c.last, c.confirm, got, c.want)
		}
	}
}

// What can't be parked is refused in the end, and what follows it gets through
// when the leader is back.
func TestParkingImpossible(t *testing.T) {
	s := newSite(t, 1, "s")
	p := metadata.PartitionID{Stream: "s", Partition: 1}
	c0 := metadata.DefaultStreamConfig(ParkedPrefix + "s")
	c0.Lane = "alarm" // where no parked log of this stream can be
	if err := s.store.PutStream(c0); err != nil {
		t.Fatal(err)
	}
	// On a machine that stands still for RefuseAfter what the leader gets is refused as
	// well, though hardly each time.
	const tries = 5
	for n := 1; s.refusesAndRecovers(p) != nil; n++ {
		if n == tries {
			t.Fatalf("%d times the first batch after the leader came back was refused", tries)
		}
	}
}

// refusesAndRecovers has what is published refused, since it can't be parked, and
// returns what became of the first record that was taken with the leader back.
func (s *site) refusesAndRecovers(p metadata.PartitionID) error {
	t := s.t
	t.Helper()
	s.setMood(replica.ErrNoLeader)
	c := &sender{}
	s.until("taken", func() bool { return s.offer(p, 1, c) == nil })
	taken := 1 // of 10: it may become known before the last that nothing can be parked
	for n := int64(2); n <= 10; n++ {
		if err := s.offer(p, n, c); err == nil {
			taken++
		} else if !errors.Is(err, ingest.ErrUnavailable) {
			t.Fatalf("record %d: %v", n, err)
		}
	}
	s.until("refusals", c.answered(taken))
	if _, failed := c.count(); failed != taken {
		t.Errorf("%d of %d were refused", failed, taken)
	}
	s.until("refused at the door", func() bool {
		return errors.Is(s.offer(p, 0, nil), ingest.ErrUnavailable)
	})
	s.setMood(nil)
	d := &sender{}
	s.until("taken again", func() bool { return s.offer(p, 11, d) == nil })
	s.until("an answer", d.answered(1))
	return d.failed[11]
}

// Stopping answers what waits, also when the leader never does.
func TestStopAnswers(t *testing.T) {
	s := newSite(t, 2, "s")
	s.setMood(errHang)
	c := &sender{}
	s.publish(p0, 1, 10, c)
	s.close()
	if all, failed := c.count(); all != 10 || failed != 10 {
		t.Errorf("%d answers, %d errors; want 10 and 10", all, failed)
	}
	s.answerHung() // too late, and harmless
}

// No more than ReadersMax partitions have parked batches in memory.
func TestReadersTakeTurns(t *testing.T) {
	var d readers
	f := &Forwarder{}
	f.jobs.init()
	var routes []*route
	for range 2*ReadersMax + 1 {
		r := &route{f: f}
		routes = append(routes, r)
		d.ask(r)
	}
	if len(f.jobs.list) != ReadersMax || len(d.reading) != ReadersMax {
		t.Fatalf("%d reads, want %d", len(f.jobs.list), ReadersMax)
	}
	d.ask(routes[0]) // wants more, and goes behind the others
	if _, ok := d.reading[routes[ReadersMax]]; !ok || len(d.reading) != ReadersMax {
		t.Error("the next did not get its turn")
	}
	for _, r := range routes {
		d.release(r)
	}
	if _, ok := d.reading[routes[0]]; !ok || len(d.waiting) != 0 {
		t.Error("the first did not get its second turn")
	}
}
