package export

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/vfs"
)

// Verify reads every file of an export and compares it with the manifest: its
// size and checksum, and of batches their own checksums and their order. read is
// called with the bytes of each piece; nil: not at all.
func Verify(ctx context.Context, dir string, m *Manifest, read func(bytes int64)) error {
	return verify(ctx, vfs.OS, dir, m, read)
}

func verify(ctx context.Context, fsys vfs.FS, dir string, m *Manifest, read func(bytes int64)) error {
	if read == nil {
		read = func(int64) {}
	}
	for i := range m.Partitions {
		for j := range m.Partitions[i].Files {
			f := &m.Partitions[i].Files[j]
			if err := verifyFile(ctx, fsys, dir, f, m.Format, read); err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
		}
	}
	return nil
}

// ErrDamaged says that a file is not what was written.
var ErrDamaged = errors.New("the file is damaged: copy it again")

func verifyFile(ctx context.Context, fsys vfs.FS, dir string, f *File, format Format, read func(int64)) error {
	in, err := fsys.OpenRead(filepath.Join(dir, filepath.FromSlash(f.Name)))
	if err != nil {
		return err
	}
	defer in.Close()
	size, err := in.Size()
	if err != nil {
		return err
	}
	sum := sha256.New()
	all := io.TeeReader(&watched{io.NewSectionReader(in, 0, size), ctx, read}, sum)
	if format == Kafka {
		err = verifyBatches(all, f)
	}
	rest, copyErr := io.Copy(io.Discard, all)
	switch {
	case copyErr != nil:
		return copyErr
	case size != f.Bytes:
		return fmt.Errorf("%w (%d bytes, the manifest says %d)", ErrDamaged, size, f.Bytes)
	case hex.EncodeToString(sum.Sum(nil)) != f.SHA256:
		return fmt.Errorf("%w (its SHA-256 is another)", ErrDamaged)
	case err != nil:
		return err
	case rest > 0 && format == Kafka:
		return fmt.Errorf("%w (%d bytes behind the last batch)", ErrDamaged, rest)
	}
	return nil
}

// verifyBatches holds the batches of a file to what the manifest says.
func verifyBatches(r io.Reader, f *File) error {
	next, records := f.FirstOffset, int64(0)
	in := batches{r: bufio.NewReaderSize(r, fileBufferBytes)}
	for {
		b, err := in.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		h, err := batch.Verify(b)
		if err == nil {
			err = h.CheckProduced()
		}
		switch {
		case err != nil:
			return fmt.Errorf("%w (offset %d: %w)", ErrDamaged, next, err)
		case h.BaseOffset < next:
			return fmt.Errorf("%w (offset %d comes behind %d)", ErrDamaged, h.BaseOffset, next-1)
		}
		next = h.NextOffset()
		records += int64(h.Count)
	}
	if next != f.NextOffset || records != f.Records {
		return fmt.Errorf("%w (%d records up to offset %d, the manifest says %d up to %d)", ErrDamaged, records, next-1, f.Records, f.NextOffset-1)
	}
	return nil
}

// watched reads until ctx ends and tells how much.
type watched struct {
	r    io.Reader
	ctx  context.Context
	read func(int64)
}

func (w *watched) Read(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.r.Read(b)
	w.read(int64(n))
	return n, err
}

// batches splits a file into batches, one of which is in memory.
type batches struct {
	r   io.Reader
	buf []byte
}

// lengthEnd is where the length field of a batch ends; it counts what follows.
const lengthEnd = 12

// next returns the next batch, which is good until the one after; io.EOF at the
// end. It is not verified.
func (s *batches) next() ([]byte, error) {
	if cap(s.buf) < batch.HeaderLen {
		s.buf = make([]byte, batch.HeaderLen, 64<<10)
	}
	s.buf = s.buf[:batch.HeaderLen]
	if _, err := io.ReadFull(s.r, s.buf[:lengthEnd]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w (it ends within a batch)", ErrDamaged)
		}
		return nil, err
	}
	size := int64(binary.BigEndian.Uint32(s.buf[8:])) + lengthEnd
	if size < batch.HeaderLen || size > metadata.BatchBytesMax {
		return nil, fmt.Errorf("%w (a batch of %d bytes; %d to %d are possible)", ErrDamaged, size, batch.HeaderLen, metadata.BatchBytesMax)
	}
	if int64(cap(s.buf)) < size {
		s.buf = append(make([]byte, 0, size), s.buf[:lengthEnd]...)
	}
	s.buf = s.buf[:size]
	if _, err := io.ReadFull(s.r, s.buf[lengthEnd:]); err != nil {
		return nil, fmt.Errorf("%w (it ends within a batch: %w)", ErrDamaged, err)
	}
	return s.buf, nil
}
