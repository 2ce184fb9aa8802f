package drain

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

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

func TestRecordEncoding(t *testing.T) {
	r := newRecord(3, 4)
	r.Live.Incarnate(time.Unix(1, 0), Target{Cluster: "c", Topic: "t", TopicID: [16]byte{1, 2}, Partition: 4}, 5, 6, 7)
	r.Live.Position, r.Live.InDoubt, r.Counts.Gaps, r.Counts.Quarantined = 9, true, Tally{1, 2}, Tally{3, 4}
	got, err := decodeRecord(r.encode())
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%+v became %+v, %v", r, got, err)
	}
	if n := len(r.encode()); n > 320 {
		t.Errorf("a cursor takes %d bytes, more than rides along cheaply", n)
	}
	for range FlowsMax {
		older := r.Live
		older.From, older.End = r.Live.Position, r.Live.Position+10
		older.Skip = older.From + 5
		r.Older = append(r.Older, older)
		r.Live.From, r.Live.Cursor = older.End, r.Live.branchOff(older.End, r.Live.Branch+1)
		r.Live.Target = older.Target
	}
	r.Paused = true
	if got, err = decodeRecord(r.encode()); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%+v became %+v, %v", r, got, err)
	}
	if n := len(r.encode()); n > 2048 {
		t.Errorf("a full record takes %d bytes", n)
	}
	r.Older = append(r.Older, r.Older[0])
	if _, err = decodeRecord(r.encode()); err == nil {
		t.Error("too many ranges were read")
	}
	r.Older = []flowRecord{r.Older[1], r.Older[0]}
	if _, err = decodeRecord(r.encode()); err == nil {
		t.Error("ranges in disorder were read")
	}
	if key := stateKey(metadata.PartitionID{Stream: "a.b", Partition: 12}); key != "drain/a.b/12" {
		t.Errorf("key %q", key)
	}
}

// versionOne is a cursor as the first release stored it.
var versionOne = map[string]any{
	"v": 1, "pos": 90, "doubt": true, "base": 20, "pid": 5, "epoch": 6, "up": 7, "acked": 8, "inc": 2,
	"to":   map[string]any{"c": "c", "t": "t", "p": 4},
	"gaps": map[string]any{"n": 1, "r": 10}, "quar": map[string]any{"n": 2, "r": 20},
}

func TestRecordVersionOne(t *testing.T) {
	b, err := msgpack.Marshal(versionOne)
	if err != nil {
		t.Fatal(err)
	}
	r, err := decodeRecord(b)
	want := Cursor{Position: 90, InDoubt: true, Base: 20, Producer: 5, Epoch: 6, Upstream: 7, AckedAt: 8, Incarnation: 2,
		Target: Target{Cluster: "c", Topic: "t", Partition: 4}, LogEpoch: -1}
	if err != nil || r.Live.Cursor != want || r.Counts != (Tallies{Gaps: Tally{1, 10}, Quarantined: Tally{2, 20}}) || r.Unclean != -1 {
		t.Errorf("became %+v, %v", r, err)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	r := newRecord(3, 0)
	f.Add(r.encode())
	f.Add([]byte{0x81, 0xa1, 'v', 1})
	f.Add([]byte{0x81, 0xa1, 'v', 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		for _, c := range append(r.Older, r.Live) {
			if seq := c.Sequence(c.Position); seq < 0 {
				t.Errorf("%+v has sequence %d", c, seq)
			}
		}
	})
}

func TestBudget(t *testing.T) {
	b := budget{max: 100}
	first, second, third := b.ask(Live, 60), b.ask(Live, 60), b.ask(Live, 10)
	if !first.isGranted() || second.isGranted() || third.isGranted() {
		t.Fatal("tickets are granted in the order of asking, or not at all")
	}
	first.keep(30)
	if !second.isGranted() || !third.isGranted() || b.inUse() != 100 {
		t.Fatalf("what was given back goes to those who wait: %d in use", b.inUse())
	}
	fourth, fifth := b.ask(Live, 50), b.ask(Live, 20)
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

// TestBudgetReserve: what is new finds memory, however much a backlog holds.
func TestBudgetReserve(t *testing.T) {
	b := budget{max: 100, reserve: 40}
	first, second := b.ask(Backfill, 40), b.ask(Backfill, 40)
	if !first.isGranted() || second.isGranted() {
		t.Fatal("the reserve is no backlog's")
	}
	live := b.ask(Live, 40)
	if !live.isGranted() {
		t.Fatal("what is new waits for a backlog")
	}
	next := b.ask(Live, 40)
	first.release()
	if !next.isGranted() || second.isGranted() {
		t.Fatal("a backlog goes before what is new")
	}
	made := b.take(30)
	if !b.exceeded() || b.inUse() != 110 {
		t.Fatalf("%d in use", b.inUse())
	}
	made.release()
	next.release()
	if b.exceeded() || second.isGranted() {
		t.Fatal("the reserve was given away")
	}
	live.release()
	if !second.isGranted() || b.inUse() != 40 {
		t.Fatalf("%d in use, want 40", b.inUse())
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
