//go:build kafka

package kafka

import (
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"cistern/bridge/drain"
)

// Sequence numbers have 31 bits: a drain goes on across the end of them, and so
// does one that crashed on the way.
func TestSequenceWraps(t *testing.T) {
	const last = 1<<31 - 1
	log := newBacklog(topic(t, shared, "wrap"), last-205)
	st := newState()
	log.fill(t, 1, 10)
	g := drainTo(t, shared, log, st, nil)
	g.drained()
	g.stop()
	began := log.HighWatermark()

	// As after 2^31 records: another producer id, whose base is offset 0. It is
	// stored the way the first release did.
	key := "drain/" + log.id.String()
	var stored struct {
		Live struct {
			drain.Cursor `msgpack:",inline"`
		} `msgpack:"live"`
	}
	must(t, msgpack.Unmarshal(st.Get(key), &stored))
	c := stored.Live.Cursor
	if c.Position != began || c.Producer < 0 {
		t.Fatalf("the stored cursor is %+v, want position %d", c, began)
	}
	id, err := newProducer(t, shared)
	must(t, err)
	c.Producer, c.Epoch, c.Base, c.InDoubt = id, 0, 0, true
	b, err := msgpack.Marshal(&struct {
		Version      uint8 `msgpack:"v"`
		drain.Cursor `msgpack:",inline"`
	}{1, c})
	must(t, err)
	must(t, st.PutSync(key, b))

	for _, batches := range []int{15, 4, 2, 20} { // the third passes the end
		log.fill(t, batches, 10)
		g = drainTo(t, shared, log, st, nil)
		g.drained()
		st = g.state.survive()
		g.stop()
	}
	if p := g.d.Status().Partitions[0]; p.ProducerID != id || p.Incarnation != c.Incarnation {
		t.Errorf("ended as producer %d, incarnation %d; the wrap must not need another", p.ProducerID, p.Incarnation)
	}
	expect(t, shared, log, last-205)
}
