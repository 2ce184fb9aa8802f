package slot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf16"
)

// ErrFAT is found in the error of who reads a damaged FAT, or none.
var ErrFAT = errors.New("no FAT that can be read")

const (
	fatEntryBytes = 32
	// folderBytesMax is 4096 entries: far more than a card of ours has.
	folderBytesMax = 4096 * fatEntryBytes
	longNameMax    = 255
	attrVolume     = 0x08
	attrFolder     = 0x10
	attrLong       = 0x0f
)

// FAT reads files of a FAT16 or FAT32. It exists so that init, the emulator's
// harness and the tools on any laptop see the same card without mounting it.
type FAT struct {
	r           io.ReaderAt
	fat32       bool
	clusterSize int64
	fatAt       int64
	fatBytes    int64
	rootAt      int64 // FAT16: where the root folder is
	rootBytes   int64
	rootCluster uint32 // FAT32
	dataAt      int64
	clusters    uint32
	bytes       int64
}

// OpenFAT reads the boot sector of a FAT that begins where r begins.
func OpenFAT(r io.ReaderAt) (*FAT, error) {
	var b [SectorBytes]byte
	if _, err := r.ReadAt(b[:], 0); err != nil {
		return nil, fmt.Errorf("FAT: %w", err)
	}
	le := binary.LittleEndian
	perCluster, reserved, copies := int64(b[13]), int64(le.Uint16(b[14:])), int64(b[16])
	rootEntries := int64(le.Uint16(b[17:]))
	sectors, fatSectors := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if sectors == 0 {
		sectors = int64(le.Uint32(b[32:]))
	}
	f := &FAT{r: r, fat32: fatSectors == 0}
	if f.fat32 {
		fatSectors = int64(le.Uint32(b[36:]))
		f.rootCluster = le.Uint32(b[44:])
	}
	switch {
	case b[magicAt] != 0x55 || b[magicAt+1] != 0xaa:
		return nil, fmt.Errorf("FAT: no boot sector: %w", ErrFAT)
	case le.Uint16(b[11:]) != SectorBytes || perCluster == 0 || perCluster&(perCluster-1) != 0 ||
		reserved == 0 || copies == 0 || copies > 2 || fatSectors == 0 || !f.fat32 && rootEntries == 0:
		return nil, fmt.Errorf("FAT: the boot sector makes no sense: %w", ErrFAT)
	}
	f.clusterSize = perCluster * SectorBytes
	f.fatAt = reserved * SectorBytes
	f.fatBytes = fatSectors * SectorBytes
	f.rootAt = f.fatAt + copies*f.fatBytes
	f.rootBytes = (rootEntries*fatEntryBytes + SectorBytes - 1) / SectorBytes * SectorBytes
	f.dataAt = f.rootAt + f.rootBytes
	f.bytes = sectors * SectorBytes
	if f.dataAt >= f.bytes {
		return nil, fmt.Errorf("FAT: the boot sector makes no sense: %w", ErrFAT)
	}
	f.clusters = uint32(min((f.bytes-f.dataAt)/f.clusterSize, f.fatBytes/f.entryWidth()-2))
	return f, nil
}

func (f *FAT) entryWidth() int64 {
	if f.fat32 {
		return 4
	}
	return 2
}

// next follows the chain; 0 is its end.
func (f *FAT) next(cluster uint32) (uint32, error) {
	var b [4]byte
	w := f.entryWidth()
	if _, err := f.r.ReadAt(b[:w], f.fatAt+int64(cluster)*w); err != nil {
		return 0, fmt.Errorf("FAT: %w", err)
	}
	n, end := binary.LittleEndian.Uint32(b[:])&0x0fffffff, uint32(0x0ffffff8)
	if !f.fat32 {
		n, end = n&0xffff, 0xfff8
	}
	if n >= end {
		return 0, nil
	}
	return n, f.checkCluster(n)
}

func (f *FAT) checkCluster(n uint32) error {
	if n < 2 || n-2 >= f.clusters {
		return fmt.Errorf("FAT: a chain leads to cluster %d of %d: %w", n, f.clusters, ErrFAT)
	}
	return nil
}

func (f *FAT) at(cluster uint32) int64 { return f.dataAt + int64(cluster-2)*f.clusterSize }

// chain reads what lies in a chain of clusters, want bytes, or to the chain's
// end where want is negative; never more than limit.
func (f *FAT) chain(cluster uint32, want, limit int64) ([]byte, error) {
	var out []byte
	for seen := uint32(0); want < 0 || int64(len(out)) < want; seen++ {
		if err := f.checkCluster(cluster); err != nil {
			return nil, err
		}
		if seen >= f.clusters || int64(len(out)) >= limit {
			return nil, fmt.Errorf("FAT: a chain does not end: %w", ErrFAT)
		}
		b := make([]byte, f.clusterSize)
		if _, err := f.r.ReadAt(b, f.at(cluster)); err != nil {
			return nil, fmt.Errorf("FAT: %w", err)
		}
		out = append(out, b...)
		next, err := f.next(cluster)
		if err != nil {
			return nil, err
		}
		if next == 0 {
			break
		}
		cluster = next
	}
	if want < 0 {
		return out, nil
	}
	if int64(len(out)) < want {
		return nil, fmt.Errorf("FAT: a chain ends after %d of %d bytes: %w", len(out), want, ErrFAT)
	}
	return out[:want], nil
}

// FATEntry is a file or a folder of a FAT.
type FATEntry struct {
	Name   string
	Folder bool
	Bytes  int64
	first  uint32
}

// List gives what is in a folder; "" is the root.
func (f *FAT) List(folder string) ([]FATEntry, error) {
	entries, err := f.root()
	if err != nil {
		return nil, err
	}
	for _, name := range strings.FieldsFunc(folder, func(r rune) bool { return r == '/' }) {
		e, err := find(entries, name)
		if err == nil && !e.Folder {
			err = errors.New("is a file")
		}
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: folder, Err: err}
		}
		b, err := f.chain(e.first, -1, folderBytesMax)
		if err != nil {
			return nil, err
		}
		entries = folderEntries(b)
	}
	return entries, nil
}

func (f *FAT) root() ([]FATEntry, error) {
	if f.fat32 {
		b, err := f.chain(f.rootCluster, -1, folderBytesMax)
		return folderEntries(b), err
	}
	b := make([]byte, min(f.rootBytes, folderBytesMax))
	if _, err := f.r.ReadAt(b, f.rootAt); err != nil {
		return nil, fmt.Errorf("FAT: %w", err)
	}
	return folderEntries(b), nil
}

func find(entries []FATEntry, name string) (FATEntry, error) {
	for _, e := range entries {
		if strings.EqualFold(e.Name, name) {
			return e, nil
		}
	}
	return FATEntry{}, fs.ErrNotExist
}

func (f *FAT) stat(path string) (FATEntry, error) {
	folder, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		folder, name = path[:i], path[i+1:]
	}
	entries, err := f.List(folder)
	if err != nil {
		return FATEntry{}, err
	}
	e, err := find(entries, name)
	if err == nil && e.Folder {
		err = errors.New("is a folder")
	}
	if err != nil {
		return FATEntry{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return e, nil
}

// ReadFile reads a file of at most limit bytes. Names are found without regard
// to case, as FAT has it.
func (f *FAT) ReadFile(path string, limit int64) ([]byte, error) {
	e, err := f.stat(path)
	if err != nil {
		return nil, err
	}
	if e.Bytes > limit {
		return nil, fmt.Errorf("%s: has %d bytes, at most %d are read", path, e.Bytes, limit)
	}
	if e.Bytes == 0 {
		return nil, nil
	}
	b, err := f.chain(e.first, e.Bytes, limit+f.clusterSize)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// firstSector tells where the first sector of a file is, and how many of its
// bytes the file says are its own.
func (f *FAT) firstSector(path string) (at, bytes int64, err error) {
	e, err := f.stat(path)
	if err != nil {
		return 0, 0, err
	}
	if err := f.checkCluster(e.first); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", path, err)
	}
	return f.at(e.first), min(e.Bytes, SectorBytes), nil
}

// folderEntries reads a folder's entries with their long names.
func folderEntries(b []byte) []FATEntry {
	var out []FATEntry
	var long []uint16
	for ; len(b) >= fatEntryBytes && b[0] != 0; b = b[fatEntryBytes:] {
		attr := b[11]
		switch {
		case b[0] == 0xe5: // removed
			long = nil
		case attr&0x3f == attrLong:
			if len(long) < longNameMax {
				long = append(longPart(b), long...)
			}
		case attr&attrVolume != 0 || b[0] == '.':
			long = nil
		default:
			e := FATEntry{Name: shortName(b), Folder: attr&attrFolder != 0, Bytes: int64(binary.LittleEndian.Uint32(b[28:]))}
			if len(long) > 0 {
				e.Name = string(utf16.Decode(long))
			}
			e.first = uint32(binary.LittleEndian.Uint16(b[20:]))<<16 | uint32(binary.LittleEndian.Uint16(b[26:]))
			out, long = append(out, e), nil
		}
	}
	return out
}

// longPart is the piece of a long name that one entry has.
func longPart(b []byte) []uint16 {
	var out []uint16
	for _, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
		c := binary.LittleEndian.Uint16(b[at:])
		if c == 0 {
			break
		}
		out = append(out, c)
	}
	return out
}

// shortName is the 8.3 name; two bits say whether it is shown in small letters.
func shortName(b []byte) string {
	name, ext := strings.TrimRight(string(b[:8]), " "), strings.TrimRight(string(b[8:11]), " ")
	if b[12]&0x08 != 0 {
		name = strings.ToLower(name)
	}
	if b[12]&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if ext == "" {
		return name
	}
	return name + "." + ext
}
