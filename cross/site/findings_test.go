package site

import (
	"fmt"
	"hash/maphash"
	"slices"
	"testing"

	"cistern/cross/rig"
	"cistern/gossip/metadata"
)

// A checker that finds nothing proves nothing: each fault, made by hand, has to
// be found, and a sound site has to be left alone.

var p0 = metadata.PartitionID{Stream: metadata.DefaultStream, Partition: 0}

// message enters a message into the ledger and returns its record.
func message(l *rig.Ledger, by string, confirmed bool) Record {
	const topic = "t"
	seq := l.Next(topic)
	payload := fmt.Appendf(nil, `{"seq":%d,"by":%q}`, seq, by)
	l.Published(topic, seq, payload)
	if confirmed {
		l.Confirmed(topic, seq)
	} else {
		l.Abandoned()
	}
	return Record{topic, payload}
}

func one(base int64, epoch int32, r Record) Batch {
	return Batch{base, base + 1, epoch, maphash.Bytes(seed, append([]byte{byte(base), byte(epoch)}, r.Payload...)), []Record{r}}
}

func journal(t *testing.T, name string, batches ...Batch) *Journal {
	t.Helper()
	log := &Log{}
	for _, b := range batches {
		if err := log.append(b); err != nil {
			t.Fatal(err)
		}
	}
	return &Journal{Name: name, Logs: map[metadata.PartitionID]*Log{p0: log}}
}

func TestExamine(t *testing.T) {
	l := rig.NewLedger()
	first, second, lost := message(l, "a", true), message(l, "a", true), message(l, "a", false)
	third := message(l, "b", true)
	invented := Record{"t", []byte(`{"seq":99,"by":"a"}`)}
	sound := []Batch{one(0, 0, first), one(1, 0, second), one(2, 1, third)}
	late := append(slices.Clone(sound), one(3, 1, lost)) // by another gateway, never confirmed
	for name, c := range map[string]struct {
		a, b  []Batch
		found func(f *Findings) Finding
	}{
		"sound":                   {sound, sound, nil},
		"overtaken":               {late, late, nil},
		"bytes differ":            {sound, []Batch{sound[0], sound[1], {2, 3, 1, 1, sound[2].Records}}, func(f *Findings) Finding { return f.Mismatch }},
		"one epoch, two batches":  {sound, []Batch{sound[0], one(1, 0, third), sound[2]}, func(f *Findings) Finding { return f.Renamed }},
		"one copy is short":       {sound, sound[:2], func(f *Findings) Finding { return f.Uneven }},
		"confirmed, in one only":  {sound, sound[:2], func(f *Findings) Finding { return f.Lost }},
		"confirmed, in none":      {sound[:2], sound[:2], func(f *Findings) Finding { return f.Lost }},
		"stored twice":            {append(slices.Clone(sound), one(3, 1, third)), sound, func(f *Findings) Finding { return f.Doubled }},
		"never sent":              {append(slices.Clone(sound), one(3, 1, invented)), sound, func(f *Findings) Finding { return f.Invented }},
		"out of order by gateway": {[]Batch{one(0, 0, second), one(1, 0, first), one(2, 1, third)}, sound, func(f *Findings) Finding { return f.Disorder }},
		"confirmed out of order":  {[]Batch{one(0, 0, first), one(1, 0, third), one(2, 1, second)}, sound, func(f *Findings) Finding { return f.Disorder }},
		"begins late":             {sound[1:], sound[1:], func(f *Findings) Finding { return f.Damage }},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := journal(t, "a", c.a...), journal(t, "b", c.b...)
			f, err := Examine([]*Journal{a, b}, map[metadata.PartitionID][]string{p0: {"a", "b"}}, l)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.found == nil && len(f.Problems()) > 0:
				t.Errorf("found %q where nothing is wrong", f.Problems())
			case c.found != nil && c.found(f).Count == 0:
				t.Errorf("not found; what was: %q", f.Problems())
			}
			if over := f.Overtaken; over > 0 != (name == "overtaken") {
				t.Errorf("%d overtaken", over)
			}
		})
	}
}

// A partition that nobody is in sync with has no copy to be judged by, which is said,
// and the others are judged all the same.
func TestExamineNobody(t *testing.T) {
	l := rig.NewLedger()
	a := journal(t, "a", one(0, 0, message(l, "a", true)))
	lone := metadata.PartitionID{Stream: p0.Stream, Partition: 1}
	f, err := Examine([]*Journal{a}, map[metadata.PartitionID][]string{p0: {"a"}, lone: {}}, l)
	if err != nil || f.Damage.Count != 1 || f.Records != 1 || len(f.Problems()) != 1 {
		t.Errorf("%v, %q, %d records", err, f.Problems(), f.Records)
	}
}

// The centre is judged by the same rules.
func TestCentre(t *testing.T) {
	l := rig.NewLedger()
	first, second := message(l, "a", true), message(l, "a", true)
	for name, c := range map[string]struct {
		records []Record
		found   func(f *Findings) Finding
	}{
		"sound":        {[]Record{first, second}, nil},
		"lost":         {[]Record{first}, func(f *Findings) Finding { return f.Lost }},
		"doubled":      {[]Record{first, second, second}, func(f *Findings) Finding { return f.Doubled }},
		"out of order": {[]Record{second, first}, func(f *Findings) Finding { return f.Disorder }},
	} {
		f := &Findings{}
		if err := f.Centre(c.records, l); err != nil {
			t.Fatal(err)
		}
		if c.found == nil && len(f.Problems()) > 0 || c.found != nil && c.found(f).Count == 0 {
			t.Errorf("%s: found %q", name, f.Problems())
		}
	}
}

// What was cut off is gone from the log, and stays known.
func TestLogIsCut(t *testing.T) {
	l := rig.NewLedger()
	log := &Log{}
	for i := range int64(4) {
		if err := log.append(one(i, 0, message(l, "a", true))); err != nil {
			t.Fatal(err)
		}
	}
	if n := log.cut(9, false); n != 0 || log.Next != 4 {
		t.Errorf("a cut behind the end took %d, the log ends at %d", n, log.Next)
	}
	if n := log.cut(2, false); n != 1 || log.Next != 2 || len(log.Batches) != 2 || len(log.Ever) != 4 {
		t.Errorf("cut at 2: %+v", log)
	}
	if err := log.append(one(1, 0, Record{})); err == nil {
		t.Error("a batch below the end was taken")
	}
	if n := log.cut(7, true); n != 1 || log.Start != 7 || log.Next != 7 || len(log.Batches) != 0 {
		t.Errorf("restarted at 7: %+v", log)
	}
}
