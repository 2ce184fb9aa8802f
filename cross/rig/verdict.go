package rig

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
)

// Verdict is the comparison of a ledger with what lies at the centre.
type Verdict struct {
	Tally
	Topics     int
	Arrived    int64 // records at the centre
	Surplus    int64 // of these: unconfirmed ones that had been stored after all
	Lost       int64 // confirmed, and not there
	Duplicated int64 // more copies than one
	Disordered int64 // first copies that came after a newer message of their topic
	Invented   int64 // never published, or changed on the way
	Example    string
}

// Good tells whether the promise was kept.
func (v Verdict) Good() bool {
	return v.Lost == 0 && v.Duplicated == 0 && v.Disordered == 0 && v.Invented == 0
}

// Judge takes one pass over what arrived. each calls its argument with the
// topic and payload of every record, in the order of the centre.
func (l *Ledger) Judge(each func(visit func(topic string, payload []byte)) error) (Verdict, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := Verdict{Tally: Tally{l.published, l.confirmed, l.abandoned}, Topics: len(l.topics)}
	for _, entries := range l.topics {
		for i := range entries {
			entries[i].arrived = 0
		}
	}
	newest := make(map[string]int64)
	err := each(func(topic string, payload []byte) { l.arrived(&v, newest, topic, payload) })
	if err != nil {
		return v, err
	}
	for topic, entries := range l.topics {
		for i, e := range entries {
			switch {
			case e.confirmed && e.arrived == 0:
				v.Lost++
				v.note("lost", topic, int64(i)+1)
			case !e.confirmed && e.arrived > 0:
				v.Surplus++
			}
		}
	}
	return v, nil
}

func (l *Ledger) arrived(v *Verdict, newest map[string]int64, topic string, payload []byte) {
	v.Arrived++
	seq, err := Sequence(payload)
	entries := l.topics[topic]
	if err != nil || seq < 1 || seq > int64(len(entries)) ||
		entries[seq-1].hash != maphash.Bytes(l.seed, payload) {
		v.Invented++
		v.note("invented", topic, seq)
		return
	}
	e := &entries[seq-1]
	e.arrived++
	switch {
	case e.arrived > 1:
		v.Duplicated++
		v.note("duplicated", topic, seq)
	case seq < newest[topic]:
		v.Disordered++
		v.note("out of order", topic, seq)
	default:
		newest[topic] = seq
	}
}

// note keeps the first thing that went wrong: one good example beats a count.
func (v *Verdict) note(what, topic string, seq int64) {
	if v.Example == "" {
		v.Example = fmt.Sprintf("%s: %s number %d", what, topic, seq)
	}
}

// Sequence returns the number a payload carries as its member "seq".
func Sequence(payload []byte) (int64, error) {
	var m struct {
		Seq *int64 `json:"seq"`
	}
	if err := json.Unmarshal(payload, &m); err != nil {
		return 0, err
	}
	if m.Seq == nil {
		return 0, fmt.Errorf("no seq in %.60q", payload)
	}
	return *m.Seq, nil
}
