package main

import (
	"path/filepath"
	"strings"
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// The folder of a stopped gateway of a site can be exported: with what may never
// have been confirmed, which is said, and without what waited here for others. It
// can't be moved.
func TestExportOfASitesFolder(t *testing.T) {
	s := newScript(t)
	data := filepath.Join(s.dir, "cistern-data")
	store, err := segstore.Open(segstore.Config{Dir: data, MaxBytes: 32 << 20, SegmentBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	makeSite(t, filepath.Join(data, quorumFolder))
	for _, stream := range []string{"a", parkedPrefix + "b"} {
		c := metadata.DefaultStreamConfig(stream)
		if err := store.PutStream(c); err != nil {
			t.Fatal(err)
		}
		b := batch.NewBuilder(metadata.CodecNone)
		for range 3 {
			if _, err := b.Append(&batch.Record{Key: []byte("k"), Value: []byte("one")}); err != nil {
				t.Fatal(err)
			}
		}
		one, err := b.AppendTo(nil, batch.NoProducer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Commit(segstore.Entry{Log: store.Log(metadata.PartitionID{Stream: stream}), Batch: one}); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	s.run("site", strings.TrimSpace(`
! cistern export --out x --move
exit 1
stderr 'which drains the same records from others: a move needs the site$'
stderr '^hint: export without --move, or with --live'
cistern export --out x
stdout '^exported 3 records of 1 partition, '
stdout '^note: a/0 is known to be confirmed up to offset 0; records from there on may never have been$'
stderr '^note: up to 3 records waited here for leaders elsewhere, and are not exported'
`))
}
