package export

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/vfs"
)

// Format is what the files of an export hold.
type Format string

// The formats.
const (
	Kafka  Format = "kafka"  // segments of a Kafka log
	NDJSON Format = "ndjson" // one JSON object per record
)

func (f Format) suffix() string {
	if f == NDJSON {
		return ".ndjson"
	}
	return ".log"
}

// Move says whether the exporting gateway still drains what was exported.
type Move string

// What became of a move.
const (
	Copied  Move = ""        // it does
	Pending Move = "pending" // it shall not, and may
	Done    Move = "done"    // it does not
)

// Names in an export's folder.
const (
	ManifestName   = "manifest.json"
	unfinishedName = "UNFINISHED" // there until the manifest is
	partialSuffix  = ".partial"   // of a file that is being written
)

const (
	manifestVersion  = 1
	manifestBytesMax = 16 << 20
)

// Manifest says what is in an export. Its JSON is an interface: fields are
// added, never renamed.
type Manifest struct {
	Version    int         `json:"version"`
	ID         string      `json:"id"` // random
	Format     Format      `json:"format"`
	Producer   string      `json:"producer"` // the program that made it
	Site       string      `json:"site"`
	Gateway    string      `json:"gateway"`
	Store      string      `json:"store,omitempty"` // the exporting store's id, when its folder was read
	Created    time.Time   `json:"created"`
	Move       Move        `json:"move,omitempty"`
	Partitions []Partition `json:"partitions"`
}

// Partition is one partition of an export.
type Partition struct {
	Stream      string `json:"stream"`
	Partition   int32  `json:"partition"`
	FirstOffset int64  `json:"first_offset"`
	NextOffset  int64  `json:"next_offset"` // behind the last
	Records     int64  `json:"records"`
	Bytes       int64  `json:"bytes"`
	// InDoubt: the drain had not heard what became of its last batches, so that
	// the first records may be upstream already.
	InDoubt bool `json:"in_doubt,omitempty"`
	// ConfirmedOffset is where what is known to be confirmed ends; records from
	// there on may never have been. Nil: all of it is.
	ConfirmedOffset *int64 `json:"confirmed_offset,omitempty"`
	Lost            []Span `json:"lost,omitempty"` // could not be read
	// Drained are records that the gateway has sent upstream itself, after they were
	// exported and before the move ended: they are not imported.
	Drained []Span `json:"drained,omitempty"`
	// Move is Pending once the drain was told to pass over the records, Done when it
	// does.
	Move  Move   `json:"move,omitempty"`
	Files []File `json:"files"`
}

// Settle finds out what became of a partition whose move was broken off; undrained
// are the ranges that the gateway has not drained now, in order, the last one
// without an end.
func (p *Partition) Settle(undrained []Range) {
	if p.Move == Done || len(undrained) == 0 {
		return
	}
	if p.Move == Pending && undrained[0].From >= p.NextOffset {
		p.InDoubt = true // it was passed over or drained: nobody knows
		return
	}
	p.Drained = nil
	next := p.FirstOffset
	for _, r := range undrained {
		if last := min(r.From, p.NextOffset) - 1; last >= next {
			p.Drained = append(p.Drained, Span{FirstOffset: next, LastOffset: last})
		}
		next = max(next, r.To)
	}
}

// isDrained says whether all of a batch went upstream from where it comes.
func (p *Partition) isDrained(first, last int64) bool {
	return slices.ContainsFunc(p.Drained, func(s Span) bool { return s.FirstOffset <= first && last <= s.LastOffset })
}

// ID names the partition.
func (p *Partition) ID() metadata.PartitionID {
	return metadata.PartitionID{Stream: p.Stream, Partition: p.Partition}
}

// Span is a range of offsets.
type Span struct {
	FirstOffset int64  `json:"first_offset"`
	LastOffset  int64  `json:"last_offset"`
	Cause       string `json:"cause,omitempty"`
}

// File is one file of a partition. Name is relative to the export's folder.
type File struct {
	Name        string `json:"name"`
	FirstOffset int64  `json:"first_offset"`
	NextOffset  int64  `json:"next_offset"`
	Records     int64  `json:"records"`
	Bytes       int64  `json:"bytes"`
	SHA256      string `json:"sha256"`
}

// Records counts those of all partitions, Bytes the size of all files.
func (m *Manifest) Records() (n int64) {
	for i := range m.Partitions {
		n += m.Partitions[i].Records
	}
	return n
}

// Bytes is the size of all files.
func (m *Manifest) Bytes() (n int64) {
	for i := range m.Partitions {
		n += m.Partitions[i].Bytes
	}
	return n
}

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// ErrUnfinished says that an export was broken off.
var ErrUnfinished = errors.New("the export there is unfinished: it was broken off, or still goes on")

// ReadManifest reads the manifest of the export in dir. It fails with
// ErrUnfinished or fs.ErrNotExist when there is none.
func ReadManifest(dir string) (*Manifest, error) { return readManifest(vfs.OS, dir) }

func readManifest(fsys vfs.FS, dir string) (*Manifest, error) {
	b, err := readFile(fsys, filepath.Join(dir, ManifestName))
	if errors.Is(err, fs.ErrNotExist) {
		if names, listErr := fsys.List(dir); listErr == nil && slices.Contains(names, unfinishedName) {
			return nil, fmt.Errorf("%s: %w", dir, ErrUnfinished)
		}
	}
	if err != nil {
		return nil, err
	}
	m := new(Manifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, ManifestName), err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, ManifestName), err)
	}
	return m, nil
}

func readFile(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.OpenRead(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	switch {
	case err != nil:
		return nil, err
	case size > manifestBytesMax:
		return nil, fmt.Errorf("%s has %d bytes, a manifest has at most %d", name, size, manifestBytesMax)
	}
	return io.ReadAll(io.NewSectionReader(f, 0, size))
}

// check holds a manifest, which may come from anywhere, to what it must be.
func (m *Manifest) check() error {
	switch {
	case m.Version != manifestVersion:
		return fmt.Errorf("version %d, this program knows %d: it was written by a newer one", m.Version, manifestVersion)
	case m.Format != Kafka && m.Format != NDJSON:
		return fmt.Errorf("unknown format %q", m.Format)
	}
	if id, err := hex.DecodeString(m.ID); err != nil || len(id) != 8 {
		return fmt.Errorf("id %q is none", m.ID)
	}
	seen := map[metadata.PartitionID]bool{}
	for i := range m.Partitions {
		p := &m.Partitions[i]
		if err := metadata.ValidateStreamName(p.Stream); err != nil {
			return err
		}
		if seen[p.ID()] || p.Partition < 0 {
			return fmt.Errorf("partition %s comes twice, or is none", p.ID())
		}
		seen[p.ID()] = true
		next := p.FirstOffset
		for _, f := range p.Files {
			if !filepath.IsLocal(f.Name) || f.FirstOffset < next || f.NextOffset <= f.FirstOffset {
				return fmt.Errorf("%s: file %q with offsets %d to %d does not fit behind %d", p.ID(), f.Name, f.FirstOffset, f.NextOffset-1, next)
			}
			next = f.NextOffset
		}
		if p.FirstOffset < 0 || next > p.NextOffset {
			return fmt.Errorf("%s: files end at offset %d, the partition at %d", p.ID(), next, p.NextOffset)
		}
	}
	return nil
}

// WriteManifest replaces the manifest in dir, durably, after a move.
func WriteManifest(dir string, m *Manifest) error { return writeManifest(vfs.OS, dir, m) }

func writeManifest(fsys vfs.FS, dir string, m *Manifest) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return writeWhole(fsys, dir, ManifestName, bytes.NewReader(append(b, '\n')))
}

// writeWhole makes a small file appear under its name at once and durably.
func writeWhole(fsys vfs.FS, dir, name string, from io.Reader) error {
	path, temporary := filepath.Join(dir, name), filepath.Join(dir, name+partialSuffix)
	if err := fsys.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(temporary)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.NewOffsetWriter(f, 0), from)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(temporary))
	}
	return errors.Join(fsys.Rename(temporary, path), fsys.SyncDir(dir))
}
