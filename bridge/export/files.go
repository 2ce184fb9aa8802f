package export

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"path/filepath"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/vfs"
)

const (
	// FileBytesDefault is the size after which a partition's next file begins.
	FileBytesDefault = 256 << 20
	fileBufferBytes  = 256 << 10
)

// writer writes the files of one partition.
type writer struct {
	fs     vfs.FS
	root   string // the export's folder
	folder string // the partition's, relative to it
	id     metadata.PartitionID
	format Format
	max    int64 // bytes of a file

	file    vfs.File // nil: none is open
	out     *bufio.Writer
	sum     hash.Hash
	now     File // the open one
	files   []File
	records int64 // in all of them
}

func newWriter(o *Options, id metadata.PartitionID) *writer {
	return &writer{fs: o.FS, root: o.Dir, folder: fmt.Sprintf("%s-%d", id.Stream, id.Partition), id: id, format: o.Format, max: o.FileBytes}
}

// add writes one batch, which was verified.
func (w *writer) add(b []byte, h *batch.Header) error {
	if w.file != nil && (w.now.Bytes > 0 && w.now.Bytes+int64(len(b)) > w.max || h.LastOffset()-w.now.FirstOffset > math.MaxInt32) {
		if err := w.finish(); err != nil {
			return err
		}
	}
	if w.file == nil {
		if err := w.begin(h.BaseOffset); err != nil {
			return err
		}
	}
	n, err := w.write(b, h)
	if err != nil {
		return err
	}
	w.now.Records += n
	w.records += n
	w.now.NextOffset = h.NextOffset()
	return nil
}

func (w *writer) write(b []byte, h *batch.Header) (records int64, err error) {
	if w.format == NDJSON {
		return writeJSON(w, w.id, b)
	}
	_, err = w.Write(b)
	return int64(h.Count), err
}

// Write is how the bytes of a file are counted and summed.
func (w *writer) Write(b []byte) (int, error) {
	n, err := w.out.Write(b)
	w.sum.Write(b[:n])
	w.now.Bytes += int64(n)
	return n, err
}

func (w *writer) begin(first int64) error {
	if err := w.fs.MkdirAll(filepath.Join(w.root, w.folder)); err != nil {
		return err
	}
	name := filepath.Join(w.folder, fmt.Sprintf("%020d%s", first, w.format.suffix()))
	f, err := w.fs.Create(filepath.Join(w.root, name+partialSuffix))
	if err != nil {
		return err
	}
	w.file, w.sum, w.now = f, sha256.New(), File{Name: filepath.ToSlash(name), FirstOffset: first}
	if w.out == nil {
		w.out = bufio.NewWriterSize(nil, fileBufferBytes)
	}
	w.out.Reset(io.NewOffsetWriter(f, 0))
	return nil
}

// finish makes the open file whole: synced, then under its own name.
func (w *writer) finish() error {
	if w.file == nil {
		return nil
	}
	f := w.file
	w.file = nil
	if err := errors.Join(w.out.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	path := filepath.Join(w.root, filepath.FromSlash(w.now.Name))
	if err := errors.Join(w.fs.Rename(path+partialSuffix, path), w.fs.SyncDir(filepath.Dir(path))); err != nil {
		return err
	}
	w.now.SHA256 = hex.EncodeToString(w.sum.Sum(nil))
	w.files = append(w.files, w.now)
	return nil
}

// drop closes a file that will not be finished; its name says so.
func (w *writer) drop() {
	if w.file != nil {
		w.file.Close() // it is not whole, whatever this says
		w.file = nil
	}
}
