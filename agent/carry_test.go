package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cistern/bridge/export"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/forward"
)

// foreign builds a chunk of n records from offset first on, three in a batch.
func foreign(t *testing.T, first, n int64) export.Chunk {
	t.Helper()
	c := export.Chunk{Export: "0123456789abcdef", Site: "north", Gateway: "g1", Partition: metadata.PartitionID{Stream: "mqtt", Partition: 2}, From: first}
	b := batch.NewBuilder(metadata.CodecZstd)
	for o := first; o < first+n; o += 3 {
		b.Reset()
		for i := o; i < min(o+3, first+n); i++ {
			r := batch.Record{Timestamp: 1_700_000_000_000 + i, Key: fmt.Appendf(nil, "d%d", i%5), Value: fmt.Append(nil, i),
				Headers: []batch.RecordHeader{{Key: "own", Value: []byte("x")}}}
			if full, err := b.Append(&r); full || err != nil {
				t.Fatal(full, err)
			}
		}
		one, err := b.AppendTo(nil, batch.NoProducer)
		if err != nil {
			t.Fatal(err)
		}
		batch.Stamp(one, o, 0)
		c.Batches = append(c.Batches, one...)
	}
	return c
}

// taken returns what a gateway holds of a stream: by key, the values in order.
func taken(t *testing.T, a *Agent, stream string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, log := range a.store.Logs() {
		if log.Partition().Stream != stream {
			continue
		}
		for next := log.StartOffset(); next < log.HighWatermark(); {
			b, err := log.Read(next, nil, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			whole := export.Chunk{Batches: b}
			if err := eachRecord(&whole, func(r *batch.Record) error {
				next = r.Offset + 1
				all[string(r.Key)] = append(all[string(r.Key)], string(r.Value))
				want := "north/mqtt/2/" + string(r.Value) + "/g1"
				if n := len(r.Headers); n != 2 || r.Headers[0].Key != "own" || r.Headers[1].Key != export.HeaderImported || string(r.Headers[1].Value) != want {
					t.Errorf("offset %d has headers %q", r.Offset, r.Headers)
				}
				if got := metadata.PartitionFor(r.Key, 3); got != log.Partition().Partition || r.Timestamp%1_000_000 >= 1000 {
					t.Errorf("key %s in %s, want partition %d; time %d", r.Key, log.Partition(), got, r.Timestamp)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return all
}

func expectTaken(t *testing.T, a *Agent, when string, n int64) {
	t.Helper()
	got := taken(t, a, "mqtt")
	for d := range int64(5) {
		var want []string
		for i := d; i < n; i += 5 {
			want = append(want, fmt.Sprint(i))
		}
		if key := fmt.Sprintf("d%d", d); !slices.Equal(got[key], want) {
			t.Errorf("%s: %s has %q, want %q", when, key, got[key], want)
		}
	}
}

const threePartitions = "[[stream]]\nname = 'mqtt'\npartitions = 3\n"

func TestImportKeepsRecords(t *testing.T) {
	c := &carrier{Agent: open(t, threePartitions)}
	ctx := t.Context()
	if next, err := c.Imported(ctx, foreign(t, 0, 0)); next != -1 || err != nil {
		t.Fatal(next, err)
	}
	for first := int64(0); first < 60; first += 12 {
		if next, err := c.Import(ctx, foreign(t, first, 12)); next != first+12 || err != nil {
			t.Fatal(next, err)
		}
	}
	expectTaken(t, c.Agent, "once", 60)
	// What was taken is not taken again, nor what reaches into it.
	for _, again := range []export.Chunk{foreign(t, 0, 12), foreign(t, 48, 12), foreign(t, 51, 12)} {
		if _, err := c.Import(ctx, again); err != nil {
			t.Fatal(err)
		}
	}
	expectTaken(t, c.Agent, "again", 63)
	if next, err := c.Imported(ctx, foreign(t, 0, 0)); next != 63 || err != nil {
		t.Error(next, err)
	}
}

// The gateway fails in the middle of a chunk: some of it is on flash, and nobody
// knows what. When the chunk comes again, it is there once and in order.
func TestImportAfterACrash(t *testing.T) {
	for there := int64(0); there <= 30; there += 3 {
		c := &carrier{Agent: open(t, threePartitions)}
		if _, err := c.Import(t.Context(), foreign(t, 0, 30)); err != nil {
			t.Fatal(err)
		}
		// The next chunk was begun, and some of it was taken.
		whole, some := foreign(t, 30, 30), foreign(t, 30, there)
		n, err := c.importNote(&whole)
		if err != nil {
			t.Fatal(err)
		}
		target, err := c.importTarget("mqtt")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.noteBegun(&whole, n, "mqtt", map[int32]bool{0: true, 1: true, 2: true}, 60); err != nil {
			t.Fatal(err)
		}
		if err := c.appendChunk(t.Context(), &some, target, nil); err != nil {
			t.Fatal(err)
		}
		// It comes again, in pieces of another size than before.
		for first := int64(30); first < 75; first += 9 {
			if _, err := c.Import(t.Context(), foreign(t, first, 9)); err != nil {
				t.Fatal(err)
			}
		}
		expectTaken(t, c.Agent, fmt.Sprintf("%d were there", there), 75)
	}
}

// Two gateways on their own have the same name of a site, which has a default. The
// import of one is broken off, that of the other comes in between: nothing of the
// first is taken for there because the second has its offsets.
func TestImportOfTwoGatewaysOfOneName(t *testing.T) {
	c := &carrier{Agent: open(t, threePartitions)}
	first, second := foreign(t, 0, 15), foreign(t, 0, 15)
	second.Export, second.Gateway = "fedcba9876543210", "g2"
	second.Batches = nil
	b := batch.NewBuilder(metadata.CodecZstd)
	for i := range int64(15) {
		if full, err := b.Append(&batch.Record{Timestamp: 1_700_000_000_000 + i, Key: fmt.Appendf(nil, "d%d", i%5), Value: []byte("other")}); full || err != nil {
			t.Fatal(full, err)
		}
	}
	second.Batches, _ = b.AppendTo(nil, batch.NoProducer)
	n, err := c.importNote(&first)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.noteBegun(&first, n, "mqtt", map[int32]bool{0: true, 1: true, 2: true}, 15); err != nil {
		t.Fatal(err)
	}
	for _, chunk := range []export.Chunk{second, first} {
		if next, err := c.Import(t.Context(), chunk); next != 15 || err != nil {
			t.Fatal(next, err)
		}
	}
	count := int64(0)
	for _, log := range c.store.Logs() {
		count += log.HighWatermark()
	}
	if count != 30 {
		t.Errorf("%d records of 30 are here", count)
	}
}

// A record is known by its header again, also by one that was written before it named
// the gateway; and not one of another gateway with the same site.
func TestIsFrom(t *testing.T) {
	c := foreign(t, 0, 0)
	for header, want := range map[string]int64{
		string(importedFrom(&c, 7)): 7, "north/mqtt/2/7/g1": 7, "north/mqtt/2/8": 8,
		"north/mqtt/2/7/g2": -1, "north/mqtt/2/7/": -1, "north/mqtt/2/7/g1/x": -1, "north/mqtt/1/7/g1": -1, "south/mqtt/2/7/g1": -1, "north/mqtt/2/x/g1": -1, "": -1,
	} {
		if got, ok := isFrom(&c, []byte(header)); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %d, %v", header, got, ok)
		}
	}
	c.Gateway = ""
	if got := string(importedFrom(&c, 7)); got != "north/mqtt/2/7" {
		t.Errorf("of a gateway that is not named: %q", got)
	}
}

// Notes are bounded, so that imports leave room for the other facts of a store; what
// has a note goes on. Who forgets makes room, and is taken at his word.
func TestImportNotesAreBounded(t *testing.T) {
	c := &carrier{Agent: open(t, threePartitions)}
	first := foreign(t, 0, 6)
	if _, err := c.Import(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	other := first
	for i := 1; i < importNotesMax; i++ {
		other.Export = fmt.Sprintf("%016x", i)
		c.store.State().Put(importKey(&other), []byte("a note"))
	}
	other.Export = "ffffffffffffffff"
	if _, err := c.Import(t.Context(), other); err == nil || !strings.Contains(err.Error(), "2048 partitions of imports") || !strings.Contains(err.Error(), "--forget") {
		t.Errorf("beyond the limit: %v", err)
	}
	if next, err := c.Import(t.Context(), foreign(t, 3, 6)); next != 9 || err != nil {
		t.Errorf("of one that is known: %d, %v", next, err)
	}
	expectTaken(t, c.Agent, "once", 9)
	if n, err := c.Forget(fmt.Sprintf("%016x", 7)); n != 1 || err != nil {
		t.Errorf("forgot %d, %v", n, err)
	}
	if next, err := c.Import(t.Context(), other); next != 6 || err != nil {
		t.Errorf("with room: %d, %v", next, err)
	}
	if n, err := c.Forget(""); n != importNotesMax || err != nil {
		t.Errorf("forgot %d, %v", n, err)
	}
	if next, err := c.Imported(t.Context(), first); next != -1 || err != nil {
		t.Errorf("it is forgotten, and known up to %d, %v", next, err)
	}
}

// A chunk whose sender hung up is waited for before the next is looked at.
func TestImportAfterACancel(t *testing.T) {
	c := &carrier{Agent: open(t, threePartitions)}
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Import(ctx, foreign(t, 0, 30)); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if _, err := c.Import(t.Context(), foreign(t, 0, 30)); err != nil {
		t.Fatal(err)
	}
	expectTaken(t, c.Agent, "after cancels", 30)
}

// What was parked at another gateway comes into the stream it is of, once, beside what
// lay in that stream there.
func TestImportOfWhatWasParked(t *testing.T) {
	c := &carrier{Agent: open(t, threePartitions)}
	parked := foreign(t, 0, 12)
	parked.Partition.Stream = forward.ParkedPrefix + "mqtt"
	for range 2 {
		for _, chunk := range []export.Chunk{foreign(t, 0, 30), parked} {
			if _, err := c.Import(t.Context(), chunk); err != nil {
				t.Fatal(err)
			}
		}
	}
	// A crash in the middle: what is there of the second half is found.
	rest, some := foreign(t, 12, 12), foreign(t, 12, 6)
	rest.Partition, some.Partition = parked.Partition, parked.Partition
	target, err := c.importTarget(rest.Partition.Stream)
	if err != nil || target.Name != "mqtt" {
		t.Fatal(target, err)
	}
	n, err := c.importNote(&rest)
	if err == nil {
		err = c.noteBegun(&rest, n, target.Name, map[int32]bool{0: true, 1: true, 2: true}, 24)
	}
	if err == nil {
		err = c.appendChunk(t.Context(), &some, target, nil)
	}
	if err == nil {
		_, err = c.Import(t.Context(), rest)
	}
	if err != nil {
		t.Fatal(err)
	}
	count := int64(0)
	for _, log := range c.store.Logs() {
		if log.Partition().Stream != "mqtt" {
			t.Errorf("there is %s", log.Partition())
		}
		count += log.HighWatermark()
	}
	if count != 30+24 {
		t.Errorf("%d records of 54 are here", count)
	}
}

func TestImportRefuses(t *testing.T) {
	c := &carrier{Agent: open(t, threePartitions)}
	damaged, other, empty, reserved := foreign(t, 0, 9), foreign(t, 0, 9), foreign(t, 0, 0), foreign(t, 0, 9)
	damaged.Batches[90] ^= 1
	other.Partition.Stream = "other"
	reserved.Partition.Stream = metadata.ReservedPrefix + "x"
	short := foreign(t, 0, 9)
	short.Batches = short.Batches[:len(short.Batches)-1]
	backwards := foreign(t, 9, 3)
	backwards.Batches = append(backwards.Batches, foreign(t, 0, 3).Batches...)
	for want, chunk := range map[string]export.Chunk{
		"checksum": damaged, "declare it in the configuration": other, "it is empty": empty,
		`no stream "cistern.x"`: reserved, "cut short": short, "comes behind": backwards,
	} {
		if _, err := c.Import(t.Context(), chunk); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	expectTaken(t, c.Agent, "nothing", 0)
}
