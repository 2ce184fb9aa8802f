package kafkasink

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cistern/bridge/kafka"
)

// TestTake: a request carries one batch of each upstream partition, the oldest,
// as many as fit; what stays behind keeps its order and is overtaken by nothing
// of its own partition.
func TestTake(t *testing.T) {
	s := &sender{window: newWindow(1000, time.Second), sink: &Sink{cfg: Config{RequestBytes: 100}}}
	add := func(name string, partition int32, size int) {
		s.queue = append(s.queue, &parcel{lane: &lane{}, batch: kafka.Batch{Topic: name, Partition: partition, Bytes: make([]byte, size)}})
	}
	add("a", 0, 60)
	add("a", 0, 10) // waits for the one before it
	add("b", 0, 50) // does not fit
	add("b", 0, 5)  // would fit, but must not overtake
	add("a", 1, 30)
	add("c", 0, 500) // larger than a request
	mine, other := "cistern/1", "cistern/2"
	add("d", 0, 10)
	add("e", 0, 10)
	add("e", 1, 10)
	add("d", 1, 10)
	for i, txn := range []*string{&mine, &other, &other, &mine} { // each request is of one
		s.queue[len(s.queue)-4+i].txn = txn
	}
	for _, want := range [][]string{
		{"a/0:60", "a/1:30"},
		{"a/0:10", "b/0:50"},
		{"b/0:5"},
		{"c/0:500"},
		{"d/0:10", "d/1:10"},
		{"e/0:10", "e/1:10"},
		nil,
	} {
		parcels, size := s.take()
		var got []string
		sum := 0
		for _, p := range parcels {
			got = append(got, fmt.Sprintf("%s/%d:%d", p.batch.Topic, p.batch.Partition, len(p.batch.Bytes)))
			sum += len(p.batch.Bytes)
		}
		if !slices.Equal(got, want) || sum != size {
			t.Errorf("a request carries %v, %d bytes, want %v", got, size, want)
		}
	}
}

// TestCancel: a lane that closes takes its own parcels back, and is told.
func TestCancel(t *testing.T) {
	s := &sender{window: newWindow(1000, time.Second), sink: &Sink{cfg: Config{RequestBytes: 100}}}
	mine, other := &lane{}, &lane{}
	told := 0
	for _, l := range []*lane{mine, other, mine} {
		s.queue = append(s.queue, &parcel{lane: l, done: func(_ int64, err error) {
			if err != errWithdrawn {
				t.Errorf("told %v", err)
			}
			told++
		}})
	}
	s.cancel(mine)
	if told != 2 || len(s.queue) != 1 || s.queue[0].lane != other {
		t.Errorf("%d were told, %d are left", told, len(s.queue))
	}
}

// TestHalt: behind a batch that failed at least once, nothing of its lane leaves
// any more; others are not held up.
func TestHalt(t *testing.T) {
	s := &sender{window: newWindow(1000, time.Second), sink: &Sink{cfg: Config{RequestBytes: 100}}, wake: make(chan struct{}, 1)}
	mine, other := &lane{sender: s, mode: ModeAtLeastOnce}, &lane{sender: s, mode: ModeAtLeastOnce}
	var told []error
	tell := func(_ int64, err error) { told = append(told, err) }
	failed := &parcel{lane: mine, done: tell}
	s.send(&parcel{lane: mine, done: tell, batch: kafka.Batch{Topic: "a"}})
	s.halt(mine)
	s.send(&parcel{lane: mine, done: tell, batch: kafka.Batch{Topic: "a"}})
	s.send(&parcel{lane: other, done: tell, batch: kafka.Batch{Topic: "a"}})
	if parcels, _ := s.take(); len(parcels) != 1 || parcels[0].lane != other {
		t.Errorf("%d parcels leave, want the other lane's", len(parcels))
	}
	failed.fail(kerr.NotEnoughReplicas)
	want := []error{errHalted, kerr.NotEnoughReplicas, errWithdrawn}
	if !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

// TestSettle: what an answer means for the cursor. A duplicate is upstream; only
// where is not told.
func TestSettle(t *testing.T) {
	for _, c := range []struct {
		name     string
		answer   kafka.Produced
		upstream int64
		ok       bool
	}{
		{"appended", kafka.Produced{BaseOffset: 70}, 80, true},
		{"appended, place not told", kafka.Produced{BaseOffset: -1}, -1, true},
		{"a duplicate", kafka.Produced{BaseOffset: -1, Err: kerr.DuplicateSequenceNumber}, -1, true},
		{"refused", kafka.Produced{BaseOffset: -1, Err: kerr.MessageTooLarge}, -1, false},
	} {
		called := 0
		p := &parcel{lane: &lane{}, count: 10, done: func(upstream int64, err error) {
			if called++; upstream != c.upstream || (err == nil) != c.ok {
				t.Errorf("%s: settled as %d, %v", c.name, upstream, err)
			}
		}}
		if p.settle(c.answer); called != 1 {
			t.Errorf("%s: told %d times", c.name, called)
		}
	}
}
