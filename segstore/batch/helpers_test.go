package batch

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"cistern/gossip/metadata"
)

var codecs = []metadata.Codec{metadata.CodecNone, metadata.CodecSnappy, metadata.CodecLZ4, metadata.CodecZstd}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// readings returns records as sensors send them: alike, and compressible.
func readings(n int) []Record {
	records := make([]Record, n)
	for i := range records {
		records[i] = Record{
			Offset:    int64(i),
			Timestamp: 1_700_000_000_000 + int64(i)*20,
			Key:       fmt.Appendf(nil, "plant/line%d/temperature", i%8),
			Value:     fmt.Appendf(nil, `{"c":%.2f,"unit":"celsius","sensor":"t-%04d","seq":%d}`, 20+math.Sin(float64(i)), i%8, i),
			Headers:   []RecordHeader{{Key: "cistern.site", Value: []byte("plant-7")}},
		}
	}
	return records
}

// randomRecords returns records as nobody would send them, but may.
func randomRecords(rng *rand.Rand) []Record {
	records := make([]Record, 1+rng.IntN(60))
	for i := range records {
		records[i] = Record{
			Offset:    int64(i),
			Timestamp: randomTimestamp(rng),
			Key:       randomBytes(rng),
			Value:     randomBytes(rng),
		}
		for range rng.IntN(4) {
			records[i].Headers = append(records[i].Headers,
				RecordHeader{Key: string(randomBytes(rng)), Value: randomBytes(rng)})
		}
	}
	return records
}

func randomTimestamp(rng *rand.Rand) int64 {
	switch rng.IntN(10) {
	case 0:
		return -1
	case 1:
		return int64(rng.Uint64())
	default:
		return 1_700_000_000_000 + rng.Int64N(1e9)
	}
}

// randomBytes returns null, empty, repetitive or random bytes.
func randomBytes(rng *rand.Rand) []byte {
	switch rng.IntN(6) {
	case 0:
		return nil
	case 1:
		return []byte{}
	case 2:
		return slices.Repeat([]byte("ab"), rng.IntN(500))
	default:
		b := make([]byte, rng.IntN(200))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
}

// build returns one batch of all records.
func build(t testing.TB, codec metadata.Codec, p Producer, records []Record) []byte {
	t.Helper()
	b := NewBuilder(codec)
	for i := range records {
		if full, err := b.Append(&records[i]); full || err != nil {
			t.Fatalf("record %d: full %v, %v", i, full, err)
		}
	}
	one, err := b.AppendTo(nil, p)
	if err != nil {
		t.Fatal(err)
	}
	return one
}

// decode returns the records of one, which must be valid.
func decode(t testing.TB, one []byte) []Record {
	t.Helper()
	if _, err := Verify(one); err != nil {
		t.Fatal(err)
	}
	records, err := tryDecode(one, 4*metadata.BatchBytesMax)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func tryDecode(one []byte, sizeMax int) (records []Record, err error) {
	for r, err := range Records(one, sizeMax) {
		if err != nil {
			return records, err
		}
		records = append(records, r)
	}
	return records, nil
}

func mustEqual(t testing.TB, got, want []Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		if !equalRecord(got[i], want[i]) {
			t.Fatalf("record %d is\n%.200v, want\n%.200v", i, fmt.Sprint(got[i]), fmt.Sprint(want[i]))
		}
	}
}

func equalRecord(a, b Record) bool {
	return a.Offset == b.Offset && a.Timestamp == b.Timestamp &&
		equalNullable(a.Key, b.Key) && equalNullable(a.Value, b.Value) &&
		slices.EqualFunc(a.Headers, b.Headers, func(x, y RecordHeader) bool {
			return x.Key == y.Key && equalNullable(x.Value, y.Value)
		})
}

// equalNullable tells null from empty.
func equalNullable(a, b []byte) bool { return (a == nil) == (b == nil) && slices.Equal(a, b) }
