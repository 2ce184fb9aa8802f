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
// have been confirmed, which is said, and with what waited here for others and was
// confirmed. It can't be moved.
func TestExportOfASitesFolder(t *testing.T) {
	s := newScript(t)
	data := filepath.Join(s.dir, "cistern-data")
	store, err := segstore.Open(segstore.Config{Dir: data, MaxBytes: 32 << 20, SegmentBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	makeSite(t, filepath.Join(data, quorumFolder))
	// Of parked batches the epoch says what their senders were told: odd, that it is safe.
	for _, at := range []struct {
		stream string
		epoch  int32
	}{{"a", 0}, {parkedPrefix + "b", 1}, {parkedPrefix + "b", 2}} {
		stream := at.stream
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
		if _, err := store.Commit(segstore.Entry{Log: store.Log(metadata.PartitionID{Stream: stream}), Batch: one, Admit: func(*batch.Header, int64) (int32, error) { return at.epoch, nil }}); err != nil {
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
stdout '^exported 6 records of 2 partitions, '
stdout '^note: a/0 is known to be confirmed up to offset 0; records from there on may never have been$'
stdout '^note: cistern.parked.b/0 holds 3 records for b/0 that waited here for the leader. .* import them only if it never is$'
stderr '^note: 3 records that waited here for leaders elsewhere are not exported: they were confirmed to nobody'
cistern export --out y --stream b
stdout '^exported 3 records of 1 partition, '
cistern export --out z --stream a --from 1
stdout '^exported 3 records of 1 partition, '
start --config alone.toml --data elsewhere
cistern import x --data elsewhere
stdout '^imported 6 records$'
cistern import x --data elsewhere
stdout '^imported 0 records; 6 were taken before$'
cistern tail --data elsewhere --from beginning --follow=false --json
stdout '"stream":"b".*"offset":2,.*"cistern.imported","value":"default/cistern.parked.b/0/2/'
! stdout '"offset":3,'
stop
-- alone.toml --
[[stream]]
name = "a"
[[stream]]
name = "b"
[[mqtt.listener]]
address = "127.0.0.1:0"
`))
}
