package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// patches lists what another gateway gave back, if there is any.
func (d *dumper) patches(b *strings.Builder, n *segstore.Inspector, dir string) {
	found := n.Patches()
	if len(found) == 0 {
		return
	}
	var t table
	t.row("PATCH", "PARTITION", "OFFSETS", "EPOCH", "SIZE")
	for _, p := range found {
		t.row(filepath.Join(dir, "segments", p.File), dash(shownPartition(p.Partition)), fmt.Sprintf("%d to %d", p.First, p.Last), fmt.Sprint(p.Epoch), humanBytes(p.Bytes))
	}
	b.WriteByte('\n')
	t.write(b)
	for _, p := range found {
		if p.Problem != "" {
			fmt.Fprintf(b, "%s %s: %s\n", d.paint.red("damaged:"), p.File, p.Problem)
		}
	}
}

// patch shows the batches of one patch.
func (d *dumper) patch(file string) error {
	if _, err := os.Stat(file); err != nil {
		return hinted(err, "`cistern dump` lists the patches of a store")
	}
	n, err := segstore.Inspect(filepath.Dir(filepath.Dir(file)))
	if err != nil {
		return hinted(err, "a patch is read where it lies: DATA/segments/NAME.patch")
	}
	rest, err := n.PatchBatches(filepath.Base(file))
	if err != nil {
		return &fault{fmt.Errorf("%s: %w", file, err), "", exitDamaged}
	}
	for len(rest) > 0 {
		one, more, err := batch.Next(rest)
		if err != nil {
			return err
		}
		f := frameJSON{Type: "batch", Bytes: len(one)}
		d.batch(&f, metadata.PartitionID{}, one)
		if err := d.showBatch(&f); err != nil {
			return errors.Join(err, d.out.Flush())
		}
		rest = more
	}
	return nil
}

func (d *dumper) showBatch(f *frameJSON) error {
	if d.json {
		return json.NewEncoder(d.out).Encode(f)
	}
	fmt.Fprintf(d.out, "batch, %d bytes %s\n", f.Bytes, frameLine(f))
	return d.showRecords(f.Records)
}
