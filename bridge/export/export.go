package export

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
	"cistern/segstore/vfs"
)

// ReadBytes is how much of a partition is read at a time.
const ReadBytes = 1 << 20

// Log is one partition's records. segstore's Log is one; so is a running
// gateway's, read through its socket.
type Log interface {
	Partition() metadata.PartitionID
	StartOffset() int64
	HighWatermark() int64
	// Read appends whole stored batches to buf: the first contains offset, all lie
	// below the high watermark, at least one when there is one. Lost records are a
	// *segstore.CorruptError, dropped ones segstore.ErrOffsetOutOfRange.
	Read(offset int64, buf []byte, sizeMax int) ([]byte, error)
}

// Part is a partition to export: its batches with records in [From, To). A batch
// is never torn, so the first may begin before From; one that does not end at or
// before To is left out.
type Part struct {
	Log      Log
	From, To int64
	// Drained are ranges in between that are left out, in order: a partition whose
	// newer records leave first has some that are upstream already.
	Drained []Range
	// InDoubt and Confirmed are for the manifest.
	InDoubt   bool
	Confirmed *int64
}

// Range is one of offsets; To is behind the last.
type Range struct{ From, To int64 }

// Options say how to export.
type Options struct {
	Dir       string // made if need be; must be empty or hold a broken-off export
	Format    Format
	FileBytes int64    // 0: FileBytesDefault
	Manifest  Manifest // who exports, and Move

	// Progress is called after each read; nil: not at all.
	Progress func(id metadata.PartitionID, records, bytes int64)
	FS       vfs.FS           // nil: the real one
	Now      func() time.Time // nil: time.Now
}

// ErrOccupied says that a folder holds something else.
var ErrOccupied = errors.New("the folder is not empty")

// Export writes parts as files and returns what it wrote. When it fails or ctx
// ends, the folder says that the export is unfinished, and can be used for the next.
func Export(ctx context.Context, o Options, parts []Part) (*Manifest, error) {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.FileBytes == 0 {
		o.FileBytes = FileBytesDefault
	}
	if err := o.prepare(); err != nil {
		return nil, err
	}
	m := o.Manifest
	m.Version, m.ID, m.Format, m.Created = manifestVersion, newID(), o.Format, o.Now().UTC().Truncate(time.Millisecond)
	m.Partitions = []Partition{}
	for i := range parts {
		p, err := o.partition(ctx, &parts[i])
		if err != nil {
			return nil, fmt.Errorf("export of %s: %w", parts[i].Log.Partition(), err)
		}
		m.Partitions = append(m.Partitions, p)
	}
	// The names of the partitions' folders must be as durable as what is in them.
	if err := o.FS.SyncDir(o.Dir); err != nil {
		return nil, err
	}
	if err := writeManifest(o.FS, o.Dir, &m); err != nil {
		return nil, err
	}
	return &m, errors.Join(o.FS.Remove(filepath.Join(o.Dir, unfinishedName)), o.FS.SyncDir(o.Dir))
}

// prepare makes the folder ready: new, or cleared of what was broken off.
func (o *Options) prepare() error {
	// The folder's name must be as durable as what will be in it.
	if err := errors.Join(o.FS.MkdirAll(o.Dir), o.FS.SyncDir(filepath.Dir(o.Dir))); err != nil {
		return err
	}
	names, err := o.FS.List(o.Dir)
	if err != nil {
		return err
	}
	switch {
	case slices.Contains(names, ManifestName):
		return fmt.Errorf("%s holds an export: %w", o.Dir, ErrOccupied)
	case slices.Contains(names, unfinishedName):
		return o.clear(names)
	case len(names) > 0 && !slices.Equal(names, []string{unfinishedName + partialSuffix}):
		return fmt.Errorf("%s: %w", o.Dir, ErrOccupied)
	}
	return writeWhole(o.FS, o.Dir, unfinishedName, strings.NewReader("An export into this folder has begun and not ended. What is here is no use.\n"))
}

var (
	folderName = regexp.MustCompile(`^[A-Za-z0-9._-]+-[0-9]+$`)
	fileName   = regexp.MustCompile(`^[0-9]{20}\.(log|ndjson)(\.partial)?$`)
)

// clear removes the files of an export that was broken off, and nothing else.
func (o *Options) clear(names []string) error {
	for _, name := range names {
		if !folderName.MatchString(name) {
			continue
		}
		folder := filepath.Join(o.Dir, name)
		files, err := o.FS.List(folder)
		if err != nil {
			continue // no folder
		}
		for _, file := range files {
			if !fileName.MatchString(file) {
				continue
			}
			if err := o.FS.Remove(filepath.Join(folder, file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func (o *Options) partition(ctx context.Context, part *Part) (Partition, error) {
	id := part.Log.Partition()
	out := Partition{Stream: id.Stream, Partition: id.Partition, FirstOffset: part.From, NextOffset: part.From,
		InDoubt: part.InDoubt, ConfirmedOffset: part.Confirmed}
	w := newWriter(o, id)
	defer w.drop()
	run := reader{part: part, next: part.From, out: &out}
	for {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		more, err := run.step(w)
		if err != nil {
			return out, err
		}
		if o.Progress != nil {
			o.Progress(id, w.records, run.bytes)
		}
		if !more {
			break
		}
	}
	if err := w.finish(); err != nil {
		return out, err
	}
	out.Files = append([]File{}, w.files...)
	out.Records, out.Bytes = 0, 0
	for _, f := range w.files {
		out.Records += f.Records
		out.Bytes += f.Bytes
	}
	if len(w.files) > 0 {
		out.FirstOffset = min(out.FirstOffset, w.files[0].FirstOffset)
	}
	out.NextOffset = run.next
	return out, nil
}

// reader goes through one partition.
type reader struct {
	part  *Part
	next  int64
	bytes int64 // read so far
	buf   []byte
	fresh []byte // a batch as it is written
	out   *Partition
}

// step copies one read's worth; more is false at the end.
func (r *reader) step(w *writer) (more bool, err error) {
	r.pass()
	if r.next >= r.part.To {
		return false, nil
	}
	buf, err := r.part.Log.Read(r.next, r.buf[:0], ReadBytes)
	var lost *segstore.CorruptError
	switch {
	case errors.Is(err, segstore.ErrOffsetOutOfRange) && r.part.Log.StartOffset() > r.next:
		r.lose(r.next, min(r.part.Log.StartOffset(), r.part.To)-1, "dropped by retention")
		return true, nil
	case errors.As(err, &lost):
		r.lose(r.next, min(lost.LastOffset+1, r.part.To)-1, lost.Error())
		return true, nil
	case err != nil:
		return false, err
	case len(buf) == 0:
		return false, nil
	}
	r.buf = buf
	r.bytes += int64(len(buf))
	for len(buf) > 0 {
		one, rest, err := batch.Next(buf)
		if err != nil {
			return false, err
		}
		if more, err := r.batch(w, one); err != nil || !more {
			return false, err
		}
		if r.pass() {
			break // what was read goes on elsewhere
		}
		buf = rest
	}
	return true, nil
}

// batch writes one, unless it reaches beyond the end.
func (r *reader) batch(w *writer, b []byte) (more bool, err error) {
	h, err := batch.Verify(b)
	if err != nil {
		h, parseErr := batch.ParseHeader(b)
		if parseErr != nil || h.NextOffset() <= r.next {
			return false, err
		}
		r.lose(r.next, h.LastOffset(), err.Error())
		return true, nil
	}
	if h.NextOffset() > r.part.To {
		return false, nil
	}
	if r.fresh, err = plain(r.fresh[:0], b, &h); err != nil {
		return false, err
	}
	r.next = h.NextOffset()
	return true, w.add(r.fresh, &h)
}

// pass goes beyond what is left out, and says whether there was something.
func (r *reader) pass() (moved bool) {
	for _, d := range r.part.Drained {
		if d.From <= r.next && r.next < d.To {
			r.next, moved = min(d.To, r.part.To), true
		}
	}
	return moved
}

// plain appends b without what only a gateway understands in its header.
func plain(dst, b []byte, h *batch.Header) ([]byte, error) {
	return batch.Rewrite{BaseOffset: h.BaseOffset, LeaderEpoch: h.LeaderEpoch, Producer: h.Producer, Transactional: h.Transactional()}.Apply(dst, b)
}

// lose notes records that can't be exported, as far as the list has room.
func (r *reader) lose(first, last int64, cause string) {
	r.next = last + 1
	if n := len(r.out.Lost); n == lostMax {
		r.out.Lost[n-1].LastOffset = last
		r.out.Lost[n-1].Cause = "several; the list has no room for more"
		return
	}
	r.out.Lost = append(r.out.Lost, Span{first, last, cause})
}

// lostMax bounds the list of what could not be read, per partition.
const lostMax = 100
