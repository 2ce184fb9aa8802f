package forward

import (
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// A batch is numbered on its way to its leader, and still says there that its
// records were taken before the clock was set.
func TestNumberingKeepsTheMarkOfTheClock(t *testing.T) {
	b := batch.NewBuilder(metadata.CodecZstd)
	if _, err := b.Append(&batch.Record{Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	b.MarkClockUnset()
	data, err := b.AppendTo(nil, batch.NoProducer)
	if err != nil {
		t.Fatal(err)
	}
	it, p := &Item{Data: data, Records: 1}, batch.Producer{ID: 7, Sequence: 3}
	if err := it.identify(p); err != nil {
		t.Fatal(err)
	}
	if h, err := batch.Verify(it.Data); err != nil || !h.ClockUnset() || h.Producer != p {
		t.Errorf("%+v, %v", h, err)
	}
}
