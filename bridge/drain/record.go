package drain

import (
	"fmt"

	"github.com/vmihailenco/msgpack/v5"

	"cistern/gossip/metadata"
)

// recordVersion is the version of a stored record. A reader takes older ones and
// refuses what is newer: going on with half an understanding could double
// records.
const recordVersion = 2

// FlowsMax bounds the ranges that outages leave behind in one partition. With
// that many the live flow goes on in order until one of them is drained.
const FlowsMax = 8

// record is what is stored of a partition's drain: all flows in one, so that a
// split is one write.
type record struct {
	Version uint8 `msgpack:"v"`
	Paused  bool  `msgpack:"paused,omitempty"`
	// Unclean is Term.Unclean as the flows know it; -1: they are older than that.
	Unclean int32   `msgpack:"unclean"`
	Counts  Tallies `msgpack:"n"`

	Live  flowRecord   `msgpack:"live"`
	Older []flowRecord `msgpack:"older,omitempty"` // ranges, oldest first
}

// flowRecord is one flow. Offsets [From, End) are its own; End is 0 for the live
// one, which has none.
type flowRecord struct {
	From   int64 `msgpack:"from"`
	End    int64 `msgpack:"end,omitempty"`
	Cursor `msgpack:",inline"`
}

// Tally counts ranges of records.
type Tally struct {
	Ranges  int64 `msgpack:"n" json:"ranges"`
	Records int64 `msgpack:"r" json:"records"`
}

func one(records int64) Tally { return Tally{1, records} }

func (t *Tally) add(o Tally, sign int64) {
	t.Ranges += sign * o.Ranges
	t.Records += sign * o.Records
}

// Tallies are what did not go upstream as it lay on flash.
type Tallies struct {
	Gaps        Tally `msgpack:"gaps"` // never sent: no longer there
	Quarantined Tally `msgpack:"quar"` // never taken: set aside
	Skipped     Tally `msgpack:"skip"` // never sent: given up by an operator
	Retimed     Tally `msgpack:"time"` // sent with other timestamps
	Abandoned   Tally `msgpack:"aban"` // upstream, but given up by the site
}

func (t *Tallies) add(o Tallies, sign int64) {
	t.Gaps.add(o.Gaps, sign)
	t.Quarantined.add(o.Quarantined, sign)
	t.Skipped.add(o.Skipped, sign)
	t.Retimed.add(o.Retimed, sign)
	t.Abandoned.add(o.Abandoned, sign)
}

func stateKey(p metadata.PartitionID) string {
	return fmt.Sprintf("drain/%s/%d", p.Stream, p.Partition)
}

func newRecord(start int64, unclean int32) record {
	return record{Version: recordVersion, Unclean: unclean, Live: flowRecord{From: start, Cursor: NewCursor(start)}}
}

func (r *record) encode() []byte {
	b, err := msgpack.Marshal(r)
	if err != nil { // plain fields of a struct we own
		panic("drain: encoding a cursor: " + err.Error())
	}
	return b
}

func decodeRecord(b []byte) (record, error) {
	var v struct {
		Version uint8 `msgpack:"v"`
	}
	if err := msgpack.Unmarshal(b, &v); err != nil {
		return record{}, fmt.Errorf("stored cursor can't be read: %w", err)
	}
	switch v.Version {
	case 1:
		return decodeV1(b)
	case recordVersion:
		var r record
		if err := msgpack.Unmarshal(b, &r); err != nil {
			return record{}, fmt.Errorf("stored cursor can't be read: %w", err)
		}
		return r, r.check()
	}
	return record{}, fmt.Errorf("stored cursor has version %d, this program knows %d: it was written by a newer one", v.Version, recordVersion)
}

// decodeV1 reads what knew neither flows nor elections.
func decodeV1(b []byte) (record, error) {
	var old struct {
		Cursor      `msgpack:",inline"`
		Gaps        Tally `msgpack:"gaps"`
		Quarantined Tally `msgpack:"quar"`
	}
	if err := msgpack.Unmarshal(b, &old); err != nil {
		return record{}, fmt.Errorf("stored cursor can't be read: %w", err)
	}
	old.LogEpoch, old.Branch, old.Skip = -1, 0, 0
	r := newRecord(old.Base, -1)
	r.Live.Cursor = old.Cursor
	r.Counts.Gaps, r.Counts.Quarantined = old.Gaps, old.Quarantined
	return r, r.check()
}

// check refuses what no drainer wrote: flows lie in the order of their offsets
// and do not overlap.
func (r *record) check() error {
	if len(r.Older) > FlowsMax {
		return fmt.Errorf("stored cursor makes no sense: %d ranges, at most %d are known", len(r.Older), FlowsMax)
	}
	behind := int64(0)
	for _, f := range r.Older {
		if err := f.check(); err != nil {
			return err
		}
		if f.From < behind || f.From >= f.End || f.reached() > f.End {
			return fmt.Errorf("stored cursor makes no sense: a range from %d to %d at %d, behind one to %d", f.From, f.End, f.Position, behind)
		}
		behind = f.End
	}
	return r.Live.check()
}

// DecodeCursor reads the live flow's cursor from what State keeps, for tools.
func DecodeCursor(stored []byte) (Cursor, error) {
	r, err := decodeRecord(stored)
	return r.Live.Cursor, err
}

// EncodeCursor returns what State keeps of a partition that has one flow with
// this cursor, for tools.
func EncodeCursor(c Cursor) []byte {
	r := newRecord(c.Base, 0)
	r.Live.Cursor = c
	return r.encode()
}
