package slot

import (
	"fmt"
	"io"
	"os"
)

// File is a card's device, or an image file, as a Disk.
type File struct {
	f *os.File
}

// Open opens a card or an image for reading and writing.
func Open(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &File{f}, nil
}

// NewFile takes over a file that is open already.
func NewFile(f *os.File) *File { return &File{f} }

// Bytes is how long it is; a device says so at its end only.
func (d *File) Bytes() (int64, error) {
	n, err := d.f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("%s: its size: %w", d.f.Name(), err)
	}
	return n, nil
}

func (d *File) ReadAt(p []byte, off int64) (int, error)  { return d.f.ReadAt(p, off) }
func (d *File) WriteAt(p []byte, off int64) (int, error) { return d.f.WriteAt(p, off) }
func (d *File) Sync() error                              { return d.f.Sync() }
func (d *File) Close() error                             { return d.f.Close() }
