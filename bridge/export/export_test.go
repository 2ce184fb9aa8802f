package export

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
	"cistern/segstore/vfs"
)

// memLog is a partition in memory.
type memLog struct {
	id      metadata.PartitionID
	start   int64
	batches [][]byte
	next    int64
	lost    map[int64]int64 // first offset → last, unreadable
	reads   int
	largest int
	stop    func() // called by the third read
}

const testEpoch = 7

func newLog(stream string, partition int32, start int64) *memLog {
	return &memLog{id: metadata.PartitionID{Stream: stream, Partition: partition}, start: start, next: start, lost: map[int64]int64{}}
}

// add appends a batch of records.
func (l *memLog) add(t *testing.T, unset bool, records ...batch.Record) {
	t.Helper()
	b := batch.NewBuilder(metadata.CodecZstd)
	if unset {
		b.MarkClockUnset()
	}
	for i := range records {
		if full, err := b.Append(&records[i]); full || err != nil {
			t.Fatal(full, err)
		}
	}
	one, err := b.AppendTo(nil, batch.Producer{ID: 9, Epoch: 1, Sequence: 4})
	if err != nil {
		t.Fatal(err)
	}
	batch.Stamp(one, l.next, testEpoch)
	l.batches = append(l.batches, one)
	l.next += int64(len(records))
}

// fill appends n batches of three records.
func (l *memLog) fill(t *testing.T, n int) *memLog {
	t.Helper()
	for range n {
		var records []batch.Record
		for i := range 3 {
			o := l.next + int64(i)
			records = append(records, batch.Record{Timestamp: 1_700_000_000_000 + o, Key: fmt.Appendf(nil, "device-%d", o%5),
				Value: fmt.Appendf(nil, "value %d of %s", o, l.id), Headers: []batch.RecordHeader{{Key: "h", Value: []byte{byte(o)}}}})
		}
		l.add(t, false, records...)
	}
	return l
}

func (l *memLog) Partition() metadata.PartitionID { return l.id }
func (l *memLog) StartOffset() int64              { return l.start }
func (l *memLog) HighWatermark() int64            { return l.next }

func (l *memLog) Read(offset int64, buf []byte, sizeMax int) ([]byte, error) {
	l.reads++
	if l.reads == 3 && l.stop != nil {
		l.stop()
	}
	if offset < l.start || offset > l.next {
		return buf, segstore.ErrOffsetOutOfRange
	}
	if last, ok := l.lost[offset]; ok {
		return buf, &segstore.CorruptError{FirstOffset: offset, LastOffset: last, Cause: errors.New("rotten")}
	}
	n := len(buf)
	for _, b := range l.batches {
		h, err := batch.ParseHeader(b)
		if err != nil {
			return buf, err
		}
		_, lost := l.lost[h.BaseOffset]
		switch {
		case h.NextOffset() <= offset:
			continue
		case lost || len(buf) > n && len(buf)-n+len(b) > sizeMax:
			return buf, nil
		}
		buf = append(buf, b...)
		l.largest = max(l.largest, len(buf)-n)
	}
	return buf, nil
}

func whole(l *memLog) Part { return Part{Log: l, From: l.start, To: l.next} }

func export(t *testing.T, o Options, parts ...Part) *Manifest {
	t.Helper()
	m, err := Export(t.Context(), o, parts)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// segmentsOf decodes the files of a partition as Kafka lays them out.
func segmentsOf(t *testing.T, dir string, p *Partition) (all []kmsg.RecordBatch) {
	t.Helper()
	for _, f := range p.Files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name))
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%s-%d/%020d.log", p.Stream, p.Partition, f.FirstOffset); f.Name != want {
			t.Errorf("file %s, want %s", f.Name, want)
		}
		for first := true; len(b) > 0; first = false {
			var r kmsg.RecordBatch
			size := 12 + int(uint32(b[8])<<24|uint32(b[9])<<16|uint32(b[10])<<8|uint32(b[11]))
			if err := r.ReadFrom(b[:size]); err != nil {
				t.Fatal(err)
			}
			if crc := crc32.Checksum(b[21:size], crc32.MakeTable(crc32.Castagnoli)); uint32(r.CRC) != crc {
				t.Errorf("offset %d: CRC %x, want %x", r.FirstOffset, uint32(r.CRC), crc)
			}
			if first && r.FirstOffset != f.FirstOffset {
				t.Errorf("%s begins with offset %d", f.Name, r.FirstOffset)
			}
			all = append(all, r)
			b = b[size:]
		}
	}
	return all
}

func TestKafkaSegments(t *testing.T) {
	l := newLog("mqtt", 3, 42).fill(t, 50)
	l.add(t, true, batch.Record{Timestamp: 5, Value: []byte("early")})
	l.fill(t, 3)
	dir := filepath.Join(t.TempDir(), "new", "x")
	m := export(t, Options{Dir: dir, Format: Kafka, FileBytes: 2 << 10, Manifest: Manifest{Site: "plant-7"}}, whole(l))
	p := &m.Partitions[0]
	if len(p.Files) < 3 || p.FirstOffset != 42 || p.NextOffset != l.next || p.Records != l.next-42 {
		t.Fatalf("%+v", p)
	}
	next := int64(42)
	for i, r := range segmentsOf(t, dir, p) {
		if r.FirstOffset != next || r.PartitionLeaderEpoch != testEpoch || r.ProducerID != 9 || r.Attributes&^7 != 0 || r.Magic != 2 {
			t.Fatalf("batch at %d: %+v", next, r)
		}
		stored, err := batch.ParseHeader(l.batches[i])
		if err != nil || !bytes.Equal(r.Records, l.batches[i][batch.HeaderLen:]) || r.FirstTimestamp != stored.BaseTimestamp {
			t.Fatalf("batch at %d is not the stored one", next)
		}
		next += int64(r.NumRecords)
	}
	if next != l.next {
		t.Errorf("they end at %d, want %d", next, l.next)
	}
	read, err := ReadManifest(dir)
	if err != nil || read.Site != "plant-7" || read.ID != m.ID {
		t.Fatalf("%+v, %v", read, err)
	}
	if err := Verify(t.Context(), dir, read, nil); err != nil {
		t.Error(err)
	}
	if l.largest > ReadBytes {
		t.Errorf("a read of %d bytes", l.largest)
	}
}

// A batch that reaches into the range is in it, one that reaches out is not.
func TestRange(t *testing.T) {
	l := newLog("mqtt", 0, 0).fill(t, 10)
	m := export(t, Options{Dir: t.TempDir(), Format: Kafka}, Part{Log: l, From: 4, To: 14})
	if p := m.Partitions[0]; p.FirstOffset != 3 || p.NextOffset != 12 || p.Records != 9 {
		t.Errorf("%+v", p)
	}
	m = export(t, Options{Dir: t.TempDir(), Format: Kafka}, Part{Log: l, From: 3, To: 5})
	if p := m.Partitions[0]; len(p.Files) != 0 || p.Records != 0 || p.NextOffset != 3 {
		t.Errorf("nothing fits: %+v", p)
	}
}

// Records that were taken before the clock was set leave with the times they were
// taken at, where it is known when that boot was.
func TestTimesAreSetRight(t *testing.T) {
	const bootAt, shown = int64(1_700_000_000_000), int64(86_400_000) // the clock began in 1970
	mark := func(boot string, at int64) []batch.RecordHeader {
		return []batch.RecordHeader{{Key: batch.HeaderClock, Value: batch.AppendClockMark(nil, boot, at)}}
	}
	l := newLog("mqtt", 0, 0)
	l.add(t, true, batch.Record{Timestamp: shown + 100, Headers: mark("known", 100)}, batch.Record{Timestamp: shown + 250, Headers: mark("known", 250)})
	l.add(t, true, batch.Record{Timestamp: shown, Headers: mark("forgotten", 5)})
	l.add(t, false, batch.Record{Timestamp: bootAt + 9})
	stored := bytes.Clone(l.batches[0])
	part := whole(l)
	part.Log = WithClock(l, func(boot string) (int64, bool) { return bootAt, boot == "known" })
	dir := t.TempDir()
	m := export(t, Options{Dir: dir, Format: Kafka}, part)
	var got []string
	for _, r := range segmentsOf(t, dir, &m.Partitions[0]) {
		got = append(got, fmt.Sprintf("%d-%d %d", r.FirstTimestamp, r.MaxTimestamp, r.Attributes&^7))
	}
	want := []string{fmt.Sprintf("%d-%d 0", bootAt+100, bootAt+250), fmt.Sprintf("%d-%d 0", shown, shown), fmt.Sprintf("%d-%d 0", bootAt+9, bootAt+9)}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !bytes.Equal(stored, l.batches[0]) {
		t.Error("the stored batch was changed")
	}
	if err := Verify(t.Context(), dir, m, nil); err != nil {
		t.Error(err)
	}
}

// What can't be read is named and left out; the rest is there.
func TestLost(t *testing.T) {
	l := newLog("mqtt", 0, 6).fill(t, 5)
	l.lost[9] = 11
	l.batches[3][70] ^= 1 // 15 to 17
	dir := t.TempDir()
	m := export(t, Options{Dir: dir, Format: Kafka}, Part{Log: l, From: 0, To: l.next})
	p := &m.Partitions[0]
	var lost []string
	for _, s := range p.Lost {
		lost = append(lost, fmt.Sprintf("%d-%d", s.FirstOffset, s.LastOffset))
	}
	if got := strings.Join(lost, " "); got != "0-5 9-11 15-17" || p.Records != 9 || p.NextOffset != 21 {
		t.Errorf("lost %s; %+v", got, p)
	}
	if err := Verify(t.Context(), dir, m, nil); err != nil {
		t.Error(err)
	}
}

func TestNDJSON(t *testing.T) {
	l := newLog("mqtt", 1, 5)
	l.add(t, false, batch.Record{Timestamp: 1_700_000_000_123, Key: []byte("plant/<a>"), Value: []byte(`{"c":1}`),
		Headers: []batch.RecordHeader{{Key: "a", Value: []byte("b")}, {Key: "c", Value: []byte{0xff}}, {Key: "d"}}},
		batch.Record{Key: []byte{0xfe}, Value: []byte{0xff, 0}}, batch.Record{}, batch.Record{Value: []byte{}})
	dir := t.TempDir()
	m := export(t, Options{Dir: dir, Format: NDJSON}, whole(l))
	f := m.Partitions[0].Files[0]
	b, err := os.ReadFile(filepath.Join(dir, f.Name))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"stream":"mqtt","partition":1,"offset":5,"timestamp":"2023-11-14T22:13:20.123Z","key":"plant/<a>","value":"{\"c\":1}",` +
			`"headers":[{"key":"a","value":"b"},{"key":"c","value":null,"value_base64":"/w=="},{"key":"d","value":null}]}`,
		`{"stream":"mqtt","partition":1,"offset":6,"timestamp":"1970-01-01T00:00:00.000Z","key":null,"key_base64":"/g==","value":null,"value_base64":"/wA="}`,
		`{"stream":"mqtt","partition":1,"offset":7,"timestamp":"1970-01-01T00:00:00.000Z","key":null,"value":null}`,
		`{"stream":"mqtt","partition":1,"offset":8,"timestamp":"1970-01-01T00:00:00.000Z","key":null,"value":""}`,
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for i := 0; lines.Scan(); i++ {
		if i >= len(want) || lines.Text() != want[i] {
			t.Errorf("line %d:\n%s", i, lines.Text())
		}
	}
	if f.Name != "mqtt-1/00000000000000000005.ndjson" || f.Records != 4 || m.Records() != 4 {
		t.Errorf("%+v", f)
	}
	if err := Verify(t.Context(), dir, m, nil); err != nil {
		t.Error(err)
	}
	if n, err := base64.StdEncoding.DecodeString("/wA="); err != nil || !bytes.Equal(n, []byte{0xff, 0}) {
		t.Error("base64")
	}
}

// An export that is broken off says so, and its folder can be used again.
func TestBrokenOff(t *testing.T) {
	dir := t.TempDir()
	l := newLog("mqtt", 0, 0)
	for range 80 { // several reads
		l.add(t, false, batch.Record{Value: noise(40 << 10)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.stop = cancel
	if _, err := Export(ctx, Options{Dir: dir, Format: Kafka, FileBytes: 1 << 20}, []Part{whole(l)}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := ReadManifest(dir); !errors.Is(err, ErrUnfinished) {
		t.Errorf("reading it: %v", err)
	}
	if names, err := filepath.Glob(filepath.Join(dir, "mqtt-0", "*"+partialSuffix)); err != nil || len(names) != 1 {
		t.Errorf("the file that was being written: %q, %v", names, err)
	}
	l.stop = nil
	m := export(t, Options{Dir: dir, Format: Kafka, FileBytes: 1 << 20}, whole(l))
	if err := Verify(t.Context(), dir, m, nil); err != nil {
		t.Error(err)
	}
	if names, err := filepath.Glob(filepath.Join(dir, "*", "*")); err != nil || len(names) != len(m.Partitions[0].Files) {
		t.Errorf("left behind: %q, %v", names, err)
	}
	if _, err := Export(t.Context(), Options{Dir: dir, Format: Kafka}, []Part{whole(l)}); !errors.Is(err, ErrOccupied) {
		t.Errorf("a second export: %v", err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "thesis"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Export(t.Context(), Options{Dir: other, Format: Kafka}, nil); !errors.Is(err, ErrOccupied) {
		t.Errorf("somebody's folder: %v", err)
	}
}

// noise does not compress.
func noise(n int) []byte {
	b, x := make([]byte, n), uint32(n)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// Whenever power is lost, a manifest that is there tells the truth, and a file
// under its own name is whole.
func TestPowerCut(t *testing.T) {
	l := newLog("mqtt", 0, 0).fill(t, 12)
	n := newLog("rest", 1, 7).fill(t, 4)
	run := func(p *vfs.PowerCut) error {
		_, err := Export(t.Context(), Options{Dir: "x", Format: Kafka, FileBytes: 700, FS: p}, []Part{whole(l), whole(n)})
		return err
	}
	quiet := vfs.NewPowerCut()
	if err := run(quiet); err != nil {
		t.Fatal(err)
	}
	total, finished := quiet.Ops(), 0
	for cut := range total + 1 {
		for seed, fate := range []vfs.Fate{vfs.Lost, vfs.Kept, vfs.Mixed, vfs.Noisy} {
			p := vfs.NewPowerCut()
			p.CutAfter(cut)
			err := run(p)
			if (err == nil) != (cut == total) {
				t.Fatalf("cut after %d: %v", cut, err)
			}
			after := p.Crash(uint64(seed), vfs.Tear{Sector: 512, Unsynced: fate})
			m, readErr := readManifest(after, "x")
			if readErr == nil {
				finished++
				if err := verify(t.Context(), after, "x", m, nil); err != nil {
					t.Fatalf("cut after %d (%s): %v", cut, p.CutAt(), err)
				}
				continue
			}
			if err == nil {
				t.Fatalf("a finished export is gone: %v", readErr)
			}
			if err := run(after); err != nil {
				t.Fatalf("cut after %d (%s), again: %v", cut, p.CutAt(), err)
			}
			if m, err = readManifest(after, "x"); err == nil {
				err = verify(t.Context(), after, "x", m, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if finished < 4 {
		t.Errorf("only %d exports were finished", finished)
	}
}

// A manifest may come from anywhere.
func TestManifestsThatAreRefused(t *testing.T) {
	good := Manifest{Version: 1, ID: "0123456789abcdef", Format: Kafka, Created: time.Now(), Partitions: []Partition{
		{Stream: "mqtt", FirstOffset: 3, NextOffset: 9, Files: []File{{Name: "mqtt-0/x.log", FirstOffset: 3, NextOffset: 9}}}}}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(m *Manifest){
		"newer":      func(m *Manifest) { m.Version = 2 },
		"format":     func(m *Manifest) { m.Format = "avro" },
		"id":         func(m *Manifest) { m.ID = "../../../../x" },
		"stream":     func(m *Manifest) { m.Partitions[0].Stream = ".." },
		"partition":  func(m *Manifest) { m.Partitions[0].Partition = -1 },
		"twice":      func(m *Manifest) { m.Partitions = append(m.Partitions, m.Partitions[0]) },
		"outside":    func(m *Manifest) { m.Partitions[0].Files[0].Name = "../../etc/passwd" },
		"absolute":   func(m *Manifest) { m.Partitions[0].Files[0].Name = "/etc/passwd" },
		"before":     func(m *Manifest) { m.Partitions[0].Files[0].FirstOffset = 2 },
		"backwards":  func(m *Manifest) { m.Partitions[0].Files[0].NextOffset = 3 },
		"beyond":     func(m *Manifest) { m.Partitions[0].Files[0].NextOffset = 10 },
		"overlapped": func(m *Manifest) { m.Partitions[0].Files = append(m.Partitions[0].Files, m.Partitions[0].Files[0]) },
	} {
		dir := t.TempDir()
		b, err := json.Marshal(good)
		if err != nil {
			t.Fatal(err)
		}
		var m Manifest
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		change(&m)
		if err := WriteManifest(dir, &m); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadManifest(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Where newer records left first, what lies between is upstream: it is not exported,
// also where it stands in the same piece that is read.
func TestExportLeavesOutWhatIsDrained(t *testing.T) {
	for _, drained := range [][]Range{{{6, 12}}, {{3, 6}, {12, 30}}, {{0, 3}}, {{27, 40}}} {
		l := newLog("mqtt", 0, 0).fill(t, 10)
		part := whole(l)
		part.Drained = drained
		dir := t.TempDir()
		m := export(t, Options{Dir: dir, Format: Kafka, FileBytes: 300}, part)
		var got, want []int64
		for _, b := range segmentsOf(t, dir, &m.Partitions[0]) {
			got = append(got, b.FirstOffset)
		}
		for o := int64(0); o < 30; o += 3 {
			if !slices.ContainsFunc(drained, func(d Range) bool { return d.From <= o && o < d.To }) {
				want = append(want, o)
			}
		}
		if !slices.Equal(got, want) || m.Partitions[0].NextOffset != 30 {
			t.Errorf("drained %v: batches %v up to %d, want %v", drained, got, m.Partitions[0].NextOffset, want)
		}
		if err := Verify(t.Context(), dir, m, nil); err != nil {
			t.Error(err)
		}
	}
}
