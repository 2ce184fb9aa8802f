package drain

import (
	"math"
	"testing"
	"time"

	"cistern/gossip/metadata"
)

func TestCursorSequence(t *testing.T) {
	c := NewCursor(1000)
	c.Incarnate(time.Unix(1, 0), Target{Topic: "t"}, 5, 0, 7)
	for offset, want := range map[int64]int32{
		1000:              0,
		1001:              1,
		1000 + 1<<31 - 1:  math.MaxInt32,
		1000 + 1<<31:      0, // Kafka's sequence numbers go on at 0
		1000 + 3<<31 + 17: 17,
	} {
		if got := c.Sequence(offset); got != want {
			t.Errorf("offset %d has sequence %d, want %d", offset, got, want)
		}
		for _, away := range []int64{0, 1, -1, 500, -500, 1<<30 - 1, -(1<<30 - 1)} {
			c.Position = offset + away
			if got := c.OffsetOf(want); got != offset {
				t.Errorf("sequence %d near %d is offset %d, want %d", want, c.Position, got, offset)
			}
		}
	}
}

// TestCursorSkip: behind a gap the sequence goes on where it was before it.
func TestCursorSkip(t *testing.T) {
	c := NewCursor(0)
	c.Incarnate(time.Unix(1, 0), Target{Topic: "t"}, 5, 0, 0)
	c.Position = 50
	before := c.Sequence(50)
	c.skip(80)
	if got := c.Sequence(80); got != before || c.Position != 80 {
		t.Errorf("sequence %d at %d behind the gap, %d before it", got, c.Position, before)
	}
	// A broker that still counts 50 records means offset 80 by that.
	if got := c.OffsetOf(49) + 1; got != 80 {
		t.Errorf("the record behind sequence 49 is offset %d, want 80", got)
	}
}

func TestCursorEncoding(t *testing.T) {
	c := NewCursor(3)
	c.Incarnate(time.Unix(1, 0), Target{Cluster: "c", Topic: "t", TopicID: [16]byte{1, 2}, Partition: 4}, 5, 6, 7)
	c.Position, c.InDoubt, c.Gaps, c.Quarantined = 9, true, Tally{1, 2}, Tally{3, 4}
	got, err := decodeCursor(c.encode())
	if err != nil || got != c {
		t.Errorf("%+v became %+v, %v", c, got, err)
	}
	if n := len(c.encode()); n > 256 {
		t.Errorf("a cursor takes %d bytes, more than rides along cheaply", n)
	}
	if key := stateKey(metadata.PartitionID{Stream: "a.b", Partition: 12}); key != "drain/a.b/12" {
		t.Errorf("key %q", key)
	}
}

func FuzzDecodeCursor(f *testing.F) {
	c := NewCursor(3)
	f.Add(c.encode())
	f.Add([]byte{0x81, 0xa1, 'v', 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCursor(b)
		if err != nil {
			return
		}
		if seq := c.Sequence(c.Position); seq < 0 {
			t.Errorf("%+v has sequence %d", c, seq)
		}
	})
}

func TestBudget(t *testing.T) {
	b := budget{max: 100}
	first, second, third := b.ask(60), b.ask(60), b.ask(10)
	if !first.isGranted() || second.isGranted() || third.isGranted() {
		t.Fatal("tickets are granted in the order of asking, or not at all")
	}
	first.keep(30)
	if !second.isGranted() || !third.isGranted() || b.inUse() != 100 {
		t.Fatalf("what was given back goes to those who wait: %d in use", b.inUse())
	}
	fourth, fifth := b.ask(50), b.ask(20)
	fourth.release() // gives up its place
	third.release()
	third.release()
	if fifth.isGranted() || b.inUse() != 90 {
		t.Fatalf("%d in use, want 90", b.inUse())
	}
	second.release()
	if !fifth.isGranted() || b.inUse() != 50 {
		t.Fatalf("%d in use, want 50", b.inUse())
	}
}

func TestBackoff(t *testing.T) {
	b := Backoff{Min: BackoffMin, Max: BackoffMax}
	ceiling := BackoffMin
	for range 20 {
		if d := b.Next(); d < ceiling/2 || d > ceiling {
			t.Fatalf("waited %v, want %v to %v", d, ceiling/2, ceiling)
		}
		ceiling = min(2*ceiling, BackoffMax)
	}
	b.Reset()
	if d := b.Next(); d > BackoffMin {
		t.Errorf("after a success it waits %v", d)
	}
}

func TestMeter(t *testing.T) {
	var m meter
	start := time.Unix(1000, 0)
	for s := range 30 {
		m.add(start.Add(time.Duration(s)*time.Second), 5, 50)
	}
	now := start.Add(30 * time.Second)
	if got := m.read(now); got != (Throughput{150, 1500, 5, 50}) {
		t.Errorf("%+v", got)
	}
	if got := m.read(now.Add(5 * time.Second)); got.RecordsPerSecond != 2.5 {
		t.Errorf("five silent seconds later: %+v", got)
	}
	if got := m.read(now.Add(time.Minute)); got.RecordsPerSecond != 0 || got.Records != 150 {
		t.Errorf("a silent minute later: %+v", got)
	}
}
