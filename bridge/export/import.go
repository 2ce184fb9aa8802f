package export

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/vfs"
)

const (
	// ChunkBytes is how much is given to a gateway at a time, or one batch.
	ChunkBytes = 512 << 10
	// ChunkBytesMax is the largest chunk there can be.
	ChunkBytesMax = ChunkBytes + metadata.BatchBytesMax
)

// Chunk is some of an export's records, on their way into a gateway.
type Chunk struct {
	Export    string // the export's id
	Site      string // where the records come from
	Gateway   string // the one there that exported them; "" from programs that don't say
	Partition metadata.PartitionID
	From      int64  // records below are taken already
	Batches   []byte // whole ones, in order
}

// HeaderImported is the header that says where an imported record comes from:
// site/stream/partition/offset/gateway there, the last being who exported it. Whoever
// meets one twice has one record. On a site of several gateways that holds for all but
// the gateway, since each has a copy.
const HeaderImported = "cistern.imported"

// Taker takes records into a gateway.
type Taker interface {
	// Imported returns the offset below which a partition of an export was taken,
	// -1 when nothing is known of it. c has no batches.
	Imported(ctx context.Context, c Chunk) (next int64, err error)
	// Import takes a chunk and returns the offset behind it, when every record in it
	// is confirmed as its stream promises. After an error some may have been taken.
	Import(ctx context.Context, c Chunk) (next int64, err error)
}

// ProgressName is where an import notes beside the manifest how far it is. It
// belongs to the folder: a folder that was imported halfway goes on from there, also
// into another gateway.
const ProgressName = "import.json"

// progress is that file.
type progress struct {
	Export     string           `json:"export"`
	Partitions map[string]int64 `json:"next_offsets"`
}

// Imported says what an import has done.
type Imported struct {
	Records int64 `json:"records"` // given to the gateway by this run
	Before  int64 `json:"before"`  // taken by earlier runs, as far as is known
	// NoteError is why progress can't be noted beside the manifest, nil when it is:
	// the gateway alone remembers it then.
	NoteError error `json:"-"`
}

// ErrMovePending says that the gateway an export comes from may still drain it.
var ErrMovePending = errors.New("the move has not ended: the gateway that the records come from may send them as well")

// Import gives the records of the export in dir to a gateway, each partition in
// order. It may be broken off and called again. The export should have been
// verified. told is called after each chunk; nil: not at all.
func Import(ctx context.Context, dir string, m *Manifest, to Taker, told func(id metadata.PartitionID, records int64)) (Imported, error) {
	var done Imported
	if m.Format != Kafka {
		return done, fmt.Errorf("%s: the format is %s; only %s can be imported", dir, m.Format, Kafka)
	}
	if told == nil {
		told = func(metadata.PartitionID, int64) {}
	}
	im := &importer{dir: dir, m: m, to: to, told: told, done: &done}
	if err := im.load(); err != nil {
		return done, err
	}
	for i := range m.Partitions {
		p := &m.Partitions[i]
		if len(p.Files) == 0 {
			continue
		}
		if err := im.partition(ctx, p); err != nil {
			return done, fmt.Errorf("import of %s: %w", p.ID(), err)
		}
	}
	return done, nil
}

type importer struct {
	dir   string
	m     *Manifest
	to    Taker
	told  func(metadata.PartitionID, int64)
	done  *Imported
	notes progress

	in    batches
	chunk []byte
	count int64 // records in chunk
}

func (im *importer) load() error {
	im.notes = progress{im.m.ID, map[string]int64{}}
	b, err := readFile(vfs.OS, filepath.Join(im.dir, ProgressName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var was progress
	if err := json.Unmarshal(b, &was); err != nil {
		return fmt.Errorf("%s: %w; remove it if the export is imported into the same gateway", filepath.Join(im.dir, ProgressName), err)
	}
	if was.Export == im.m.ID && was.Partitions != nil {
		im.notes = was
	}
	return nil
}

// note remembers beside the manifest that a partition was taken up to next.
func (im *importer) note(p *Partition, next int64) {
	im.notes.Partitions[p.ID().String()] = next
	b, err := json.Marshal(im.notes)
	if err == nil {
		err = writeWhole(vfs.OS, im.dir, ProgressName, bytes.NewReader(append(b, '\n')))
	}
	im.done.NoteError = err // a folder that can't be written is no obstacle
}

func (im *importer) partition(ctx context.Context, p *Partition) error {
	c := Chunk{Export: im.m.ID, Site: im.m.Site, Gateway: im.m.Gateway, Partition: p.ID()}
	next, err := im.to.Imported(ctx, c)
	if err != nil {
		return err
	}
	c.From = max(next, im.notes.Partitions[p.ID().String()], p.FirstOffset)
	for i := range p.Files {
		f := &p.Files[i]
		if f.NextOffset <= c.From {
			im.done.Before += f.Records
			continue
		}
		if err := im.file(ctx, p, f, &c); err != nil {
			return err
		}
	}
	return nil
}

// file gives one file's batches, from c.From on.
func (im *importer) file(ctx context.Context, p *Partition, f *File, c *Chunk) error {
	file, err := os.Open(filepath.Join(im.dir, filepath.FromSlash(f.Name)))
	if err != nil {
		return err
	}
	defer file.Close()
	im.in.r = bufio.NewReaderSize(file, fileBufferBytes)
	im.chunk, im.count = im.chunk[:0], 0
	for {
		b, err := im.in.next()
		if errors.Is(err, io.EOF) {
			return im.give(ctx, p, c)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		h, err := batch.Verify(b)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", f.Name, err)
		case h.NextOffset() <= c.From:
			im.done.Before += int64(h.Count)
			continue
		case p.isDrained(h.BaseOffset, h.LastOffset()):
			continue
		}
		if len(im.chunk) > 0 && len(im.chunk)+len(b) > ChunkBytes {
			if err := im.give(ctx, p, c); err != nil {
				return err
			}
		}
		im.chunk = append(im.chunk, b...)
		im.count += int64(h.Count)
	}
}

// give hands over what has been collected.
func (im *importer) give(ctx context.Context, p *Partition, c *Chunk) error {
	if len(im.chunk) == 0 {
		return nil
	}
	c.Batches = im.chunk
	next, err := im.to.Import(ctx, *c)
	if err != nil {
		return err
	}
	c.From = next
	im.done.Records += im.count
	im.chunk, im.count = im.chunk[:0], 0
	im.note(p, next)
	im.told(p.ID(), im.done.Records)
	return nil
}
