package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// Damage that another gateway's copy has mended is no damage any more.
func TestMendedIsShown(t *testing.T) {
	s := newScript(t)
	dir := filepath.Join(s.dir, "cistern-data")
	open := func() (*segstore.Store, *segstore.Log) {
		store, err := segstore.Open(segstore.Config{Dir: dir, MaxBytes: 32 << 20, SegmentBytes: segstore.SegmentBytesMin})
		if err == nil {
			err = store.PutStream(metadata.DefaultStreamConfig("mqtt"))
		}
		if err != nil {
			t.Fatal(err)
		}
		return store, store.Log(metadata.PartitionID{Stream: "mqtt"})
	}
	store, log := open()
	for i := range 40 {
		b := batch.NewBuilder(metadata.CodecNone)
		if _, err := b.Append(&batch.Record{Key: []byte("a/b"), Value: fmt.Appendf(nil, "number %d. %0*d", i, segstore.SegmentBytesMin/30, 0)}); err != nil {
			t.Fatal(err)
		}
		one, err := b.AppendTo(nil, batch.NoProducer)
		if err == nil {
			_, err = store.Commit(segstore.Entry{Log: log, Batch: one})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	copied, err := log.Read(5, nil, 1) // as another gateway has it
	if err = errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "segments", "00000000.seg")
	journal, err := os.ReadFile(path)
	at := bytes.Index(journal, []byte("number 5."))
	if err != nil || at < 0 {
		t.Fatal(err, at)
	}
	s.run("lost", fmt.Sprintf(`
flip cistern-data/segments/00000000.seg %d
! cistern check
exit 4
stdout 'records 5 to 5 are missing'
cistern dump
! stdout PATCH
`, at))
	store, log = open()
	_, err = log.Patch(copied)
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	s.run("mended", `
cistern check
stdout ': all damage is mended$'
stdout '^mended, from another gateway:$'
stdout '^  00000000\.seg.*records 5 to 5 are missing$'
cistern check --json
stdout '"mended": \[$'
cistern dump
stdout '^PATCH +PARTITION +OFFSETS +EPOCH +SIZE$'
stdout '00000000\.patch +mqtt/0 +5 to 5 +0 +[\d.]+ KiB$'
cistern dump cistern-data/segments/00000000.patch
stdout '^batch, \d+ bytes .*offsets 5 to 5, epoch 0, none$'
cistern dump cistern-data/segments/00000000.patch --records
stdout 'a/b  number 5\.'
cistern dump --json
flip cistern-data/segments/00000000.patch 100
! cistern check
exit 4
stdout '00000000\.patch'
! cistern dump cistern-data/segments/00000000.patch
exit 4
cistern dump
stdout '^damaged: 00000000\.patch'
! cistern dump cistern-data/segments/99999999.patch
stderr 'no such file'
`)
}
