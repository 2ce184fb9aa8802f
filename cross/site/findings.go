package site

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"cistern/cross/rig"
	"cistern/gossip/metadata"
)

// Findings is what is wrong with a site, by the letters of the invariants: D
// durable, M match, O order. Each keeps its first examples.
type Findings struct {
	Mismatch Finding // M: copies in sync differ in what both have
	Renamed  Finding // M: one (offset, epoch) has been two batches
	Uneven   Finding // L: copies in sync end at different offsets though nothing is under way
	Lost     Finding // D: confirmed, and not in every copy in sync
	Doubled  Finding // stored twice
	Invented Finding // never published, or changed on the way
	Disorder Finding // O: confirmed ones, or those that came by the same gateway
	Damage   Finding // what can't be read

	// Overtaken counts what is no fault: a message that was never confirmed and
	// came later than others that its device sent by another gateway meanwhile.
	Overtaken int64
	Records   int64 // in one copy
	Truncated int   // cuts in all journals
}

// Finding is how often one thing is wrong, and an example.
type Finding struct {
	Count   int64
	Example string
}

func (f *Finding) note(format string, args ...any) {
	if f.Count++; f.Count == 1 {
		f.Example = fmt.Sprintf(format, args...)
	}
}

// Problems lists what is wrong, nothing when all is well.
func (f *Findings) Problems() (all []string) {
	for _, one := range []struct {
		name string
		*Finding
	}{
		{"copies differ", &f.Mismatch}, {"one offset and epoch, two batches", &f.Renamed}, {"copies end differently", &f.Uneven},
		{"confirmed and lost", &f.Lost}, {"stored twice", &f.Doubled}, {"invented", &f.Invented}, {"out of order", &f.Disorder}, {"damaged", &f.Damage},
	} {
		if one.Count > 0 {
			all = append(all, fmt.Sprintf("%s: %d, like %s", one.name, one.Count, one.Example))
		}
	}
	return all
}

// Examine holds journals against each other and against what devices were told.
// insync names the gateways in sync for each partition; all of them have come to
// rest with everything.
func Examine(journals []*Journal, insync map[metadata.PartitionID][]string, l *rig.Ledger) (*Findings, error) {
	f := &Findings{}
	byName := map[string]*Journal{}
	for _, j := range journals {
		byName[j.Name] = j
		f.Truncated += j.Truncated
		for _, d := range j.Damage {
			f.Damage.note("%s: %s", j.Name, d)
		}
	}
	f.renamed(journals)
	copies, insync := 0, maps.Clone(insync)
	for id, names := range insync {
		if len(names) == 0 {
			f.Damage.note("%s: nobody is in sync, so there is no copy to look at", id)
			delete(insync, id)
		}
		copies = max(copies, len(names))
		f.match(id, names, byName)
	}
	for turn := range copies {
		if err := f.complete(turn, insync, byName, l); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// renamed looks at all that was ever written anywhere, also to what was cut off.
func (f *Findings) renamed(journals []*Journal) {
	type place struct {
		id     metadata.PartitionID
		offset int64
		epoch  int32
	}
	seen := map[place]uint64{}
	for _, j := range journals {
		for id, log := range j.Logs {
			if metadata.IsReserved(id.Stream) {
				continue // what is parked here is nobody else's
			}
			for _, b := range log.Ever {
				for offset := b.Base; offset < b.Next; offset++ {
					at := place{id, offset, b.Epoch}
					if sum, ok := seen[at]; ok && sum != b.Sum {
						f.Renamed.note("%s, offset %d in epoch %d at %s", id, offset, b.Epoch, j.Name)
					}
					seen[at] = b.Sum
				}
			}
		}
	}
}

// match compares the copies of one partition with the first.
func (f *Findings) match(id metadata.PartitionID, names []string, byName map[string]*Journal) {
	var first *Log
	for _, name := range names {
		log := byName[name].log(id)
		if log.Start > 0 {
			f.Damage.note("%s at %s begins at offset %d: nothing was to be freed in this test", id, name, log.Start)
		}
		if first == nil {
			first = log
			continue
		}
		if log.Next != first.Next {
			f.Uneven.note("%s ends at %d at %s, at %d at %s", id, first.Next, names[0], log.Next, name)
		}
		for i, b := range log.Batches[:min(len(log.Batches), len(first.Batches))] {
			if a := first.Batches[i]; a.Base != b.Base || a.Sum != b.Sum {
				f.Mismatch.note("%s: offset %d in epoch %d at %s, offset %d in epoch %d at %s", id, a.Base, a.Epoch, names[0], b.Base, b.Epoch, name)
				break
			}
		}
	}
}

var empty Log

func (j *Journal) log(id metadata.PartitionID) *Log {
	if j != nil && j.Logs[id] != nil {
		return j.Logs[id]
	}
	return &empty
}

// complete puts one copy of each partition together and asks the ledger whether
// all is there. Every copy in sync gets its turn.
func (f *Findings) complete(turn int, insync map[metadata.PartitionID][]string, byName map[string]*Journal, l *rig.Ledger) error {
	order := newOrder(l, f)
	v, err := l.Judge(func(visit func(string, []byte)) error {
		for id, names := range insync {
			name := names[turn%len(names)]
			for _, b := range byName[name].log(id).Batches {
				for _, r := range b.Records {
					visit(r.Topic, r.Payload)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	f.verdict(fmt.Sprintf("copies %d", turn), v)
	if turn > 0 {
		return nil // the others are equal, or that was noted
	}
	f.Records = v.Arrived
	for id, names := range insync {
		for _, b := range byName[names[0]].log(id).Batches {
			for _, r := range b.Records {
				order.see(id.String(), r)
			}
		}
	}
	return nil
}

func (f *Findings) verdict(where string, v rig.Verdict) {
	for _, one := range []struct {
		*Finding
		n int64
	}{{&f.Lost, v.Lost}, {&f.Doubled, v.Duplicated}, {&f.Invented, v.Invented}} {
		if one.n > 0 {
			one.Finding.note("%s: %s", where, v.Example)
			one.Count += one.n - 1
		}
	}
}

// Centre judges what lies at the centre in the same way.
func (f *Findings) Centre(records []Record, l *rig.Ledger) error {
	v, err := l.Judge(func(visit func(string, []byte)) error {
		for _, r := range records {
			visit(r.Topic, r.Payload)
		}
		return nil
	})
	if err != nil {
		return err
	}
	f.verdict("centre", v)
	order := newOrder(l, &Findings{}) // what overtakes in the journals does here
	for _, r := range records {
		order.see("centre", r)
	}
	f.Disorder.Count += order.f.Disorder.Count
	f.Disorder.Example = cmp.Or(f.Disorder.Example, order.f.Disorder.Example)
	return nil
}

// order holds a sequence of records against the promise: what a device sent by
// one gateway stays in order, and so does all that was confirmed to it. One that
// was never confirmed may turn up behind what was sent by another gateway since.
type order struct {
	f         *Findings
	confirmed map[string][]int64 // sorted
	last      map[[2]string]int64
	newest    map[string]int64
	told      map[string]int64 // newest confirmed one
}

func newOrder(l *rig.Ledger, f *Findings) *order {
	o := &order{f: f, confirmed: map[string][]int64{}, last: map[[2]string]int64{}, newest: map[string]int64{}, told: map[string]int64{}}
	l.EachConfirmed(func(topic string, seq int64) { o.confirmed[topic] = append(o.confirmed[topic], seq) })
	return o
}

func (o *order) see(where string, r Record) {
	var m struct {
		Seq int64  `json:"seq"`
		By  string `json:"by"`
	}
	if err := json.Unmarshal(r.Payload, &m); err != nil {
		return // the ledger calls it invented
	}
	path := [2]string{r.Topic, m.By}
	_, confirmed := slices.BinarySearch(o.confirmed[r.Topic], m.Seq)
	switch {
	case m.Seq < o.last[path]:
		o.f.Disorder.note("%s: %s number %d after %d, both by %s", where, r.Topic, m.Seq, o.last[path], m.By)
	case confirmed && m.Seq < o.told[r.Topic]:
		o.f.Disorder.note("%s: %s number %d after %d, both confirmed", where, r.Topic, m.Seq, o.told[r.Topic])
	case m.Seq < o.newest[r.Topic]:
		o.f.Overtaken++
	}
	o.last[path] = max(o.last[path], m.Seq)
	o.newest[r.Topic] = max(o.newest[r.Topic], m.Seq)
	if confirmed {
		o.told[r.Topic] = max(o.told[r.Topic], m.Seq)
	}
}
