package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// What is parked is shown as what it is, by all who look into the journal.
func TestParkedIsShown(t *testing.T) {
	dir := t.TempDir()
	store, err := segstore.Open(segstore.Config{Dir: dir, MaxBytes: 32 << 20, SegmentBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	parked := metadata.DefaultStreamConfig(parkedPrefix + "mqtt")
	if err := store.PutStream(parked); err != nil {
		t.Fatal(err)
	}
	b := batch.NewBuilder(metadata.CodecNone)
	if _, err := b.Append(&batch.Record{Key: []byte("a/b"), Value: []byte("one")}); err != nil {
		t.Fatal(err)
	}
	one, err := b.AppendTo(nil, batch.NoProducer)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := store.Commit(segstore.Entry{Log: store.Log(metadata.PartitionID{Stream: parked.Name}), Batch: one})
	if err != nil || entries[0].Err != nil {
		t.Fatal(err, entries[0].Err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	s := newScript(t)
	if err := os.Rename(dir, filepath.Join(s.dir, "cistern-data")); err != nil {
		t.Fatal(err)
	}
	s.run("parked", strings.TrimSpace(`
cistern check
stdout '^mqtt/0 \(parked\) +0 +1 +1$'
cistern check --json
stdout '"cistern.parked.mqtt/0"'
cistern dump cistern-data/segments/00000000.seg
stdout ' mqtt/0 \(parked\) offsets 0 to 0'
cistern dump cistern-data/segments/00000000.seg --json
stdout '"partition":"cistern.parked.mqtt/0"'
`))
}
