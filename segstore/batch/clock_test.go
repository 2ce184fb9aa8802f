package batch

import (
	"strings"
	"testing"

	"cistern/gossip/metadata"
)

func TestClockMarks(t *testing.T) {
	for _, tc := range []struct {
		value     string
		boot      string
		monotonic int64
		ok        bool
	}{
		{"unset b007 12345", "b007", 12345, true},
		{"unset b007 0", "b007", 0, true},
		{"", "", 0, false},
		{"unsynced", "", 0, false},
		{"unset ", "", 0, false},
		{"unset b007", "", 0, false},
		{"unset b007 ", "", 0, false},
		{"unset  5", "", 0, false},
		{"unset b007 -5", "", 0, false},
		{"unset b007 5x", "", 0, false},
		{"unset b007 5 6", "", 0, false},
		{"unset b007 99999999999999999999999999", "", 0, false},
		{"unset " + strings.Repeat("b", bootNameMax+1) + " 5", "", 0, false},
	} {
		boot, monotonic, ok := ParseClockMark([]byte(tc.value))
		if ok != tc.ok || ok && (string(boot) != tc.boot || monotonic != tc.monotonic) {
			t.Errorf("%q: %q, %d, %v", tc.value, boot, monotonic, ok)
		}
		if written := string(AppendClockMark(nil, tc.boot, tc.monotonic)); ok && written != tc.value {
			t.Errorf("%q is written as %q", tc.value, written)
		}
	}
}

func TestClockMarkIsTheLastHeader(t *testing.T) {
	mark := RecordHeader{Key: HeaderClock, Value: []byte("unset b 1")}
	other := RecordHeader{Key: "x"}
	for _, tc := range []struct {
		headers []RecordHeader
		want    string
	}{
		{nil, ""}, {[]RecordHeader{other}, ""}, {[]RecordHeader{mark, other}, ""},
		{[]RecordHeader{mark}, "unset b 1"}, {[]RecordHeader{other, mark}, "unset b 1"},
	} {
		if got := (&Record{Headers: tc.headers}).ClockMark(); string(got) != tc.want {
			t.Errorf("%v: %q", tc.headers, got)
		}
	}
}

// The mark of an unset clock is on the batch, in its checksum, until it leaves
// the site; and it is nothing that anybody has to know.
func TestClockUnsetIsABitOfTheBatch(t *testing.T) {
	b := NewBuilder(metadata.CodecZstd)
	records := readings(30)
	for i := range records {
		b.Append(&records[i])
	}
	b.MarkClockUnset()
	one, err := b.AppendTo(nil, NoProducer)
	if err != nil {
		t.Fatal(err)
	}
	h, err := Verify(one)
	if err != nil || h.CheckProduced() != nil || !h.ClockUnset() || h.Codec() != metadata.CodecZstd || h.Control() || h.Transactional() || h.LogAppendTime() {
		t.Fatalf("%+v, %v", h, err)
	}
	mustEqual(t, decode(t, one), records)

	kept, err := Rewrite{LeaderEpoch: -1, Producer: Producer{ID: 1}, KeepClockUnset: true}.Apply(nil, one)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := Verify(kept); err != nil || !h.ClockUnset() {
		t.Errorf("%+v, %v", h, err)
	}
	sent, err := Rewrite{LeaderEpoch: -1, Producer: Producer{ID: 1}}.Apply(nil, one)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := Verify(sent); err != nil || h.ClockUnset() {
		t.Errorf("%+v, %v", h, err)
	}

	b.Reset()
	b.Append(&records[0])
	if one, err = b.AppendTo(nil, NoProducer); err != nil {
		t.Fatal(err)
	}
	if h, _ := ParseHeader(one); h.ClockUnset() {
		t.Error("the next batch is marked too")
	}
}
