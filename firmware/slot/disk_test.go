package slot

import (
	"encoding/binary"
	"errors"
	"testing"
	"unicode/utf16"
)

var errBroken = errors.New("the card is broken")

// memory is a Disk in memory that can fail, forget, and count.
type memory struct {
	b []byte
	// failAt fails the write that reaches so far; negative never.
	failAt   int64
	failSync bool
	// flip spoils a bit of everything written at this place; negative none.
	flip   int64
	writes []int64 // where writes began
	onSync func()
}

func newMemory(n int64) *memory { return &memory{b: make([]byte, n), failAt: -1, flip: -1} }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m.b)) {
		return 0, errors.New("read past the end of the disk")
	}
	return copy(p, m.b[off:]), nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m.b)) {
		return 0, errors.New("write past the end of the disk")
	}
	m.writes = append(m.writes, off)
	if m.failAt >= 0 && off+int64(len(p)) > m.failAt {
		return 0, errBroken
	}
	n := copy(m.b[off:], p)
	if m.flip >= off && m.flip < off+int64(n) {
		m.b[m.flip] ^= 0x10
	}
	return n, nil
}

func (m *memory) Sync() error {
	if m.onSync != nil {
		m.onSync()
	}
	if m.failSync {
		return errBroken
	}
	return nil
}

// testFile is one of a FAT that fat16 makes.
type testFile struct {
	name string // long, unless it is one of 8.3
	text string
}

// fat16 makes a small FAT16 with files in its root, as a laptop would: long
// names where they are needed, one cluster of a sector after the other, the
// clusters of each file in reverse order.
func fat16(b []byte, files []testFile) {
	const reserved, rootEntries, fatSectors = 1, 64, 32
	le := binary.LittleEndian
	le.PutUint16(b[11:], SectorBytes)
	b[13], b[16] = 1, 2
	le.PutUint16(b[14:], reserved)
	le.PutUint16(b[17:], rootEntries)
	le.PutUint16(b[19:], uint16(len(b)/SectorBytes))
	le.PutUint16(b[22:], fatSectors)
	b[magicAt], b[magicAt+1] = 0x55, 0xaa
	fat := b[reserved*SectorBytes:]
	root := b[(reserved+2*fatSectors)*SectorBytes:]
	data := root[rootEntries*fatEntryBytes:]
	next := 2
	for i, f := range files {
		n := (len(f.text) + SectorBytes - 1) / SectorBytes
		first := 0
		for c := range n { // the last cluster comes first
			piece := f.text[(n-1-c)*SectorBytes:]
			copy(data[(next-2)*SectorBytes:(next-1)*SectorBytes], piece[:min(len(piece), SectorBytes)])
			link := uint16(0xffff)
			if c > 0 {
				link = uint16(next - 1)
			}
			le.PutUint16(fat[2*next:], link)
			first = next
			next++
		}
		root = longName(root, f.name, byte(i))
		le.PutUint16(root[26:], uint16(first))
		le.PutUint32(root[28:], uint32(len(f.text)))
		root = root[fatEntryBytes:]
	}
}

// longName writes the entries of a long name and the short one behind them,
// which it returns where it is.
func longName(root []byte, name string, n byte) []byte {
	units := append(utf16.Encode([]rune(name)), 0)
	parts := (len(units) + 12) / 13
	for p := parts - 1; p >= 0; p-- {
		root[0], root[11] = byte(p+1), attrLong
		for k, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
			c := uint16(0xffff)
			if p*13+k < len(units) {
				c = units[p*13+k]
			}
			binary.LittleEndian.PutUint16(root[at:], c)
		}
		root = root[fatEntryBytes:]
	}
	copy(root, "SHORT"+string('A'+rune(n))+"~1TXT")
	root[11] = 0x20
	return root
}

// newCard is a disk with our table and p1's files.
func newCard(t testing.TB) *memory {
	t.Helper()
	m := newMemory(BootStart + 1<<20)
	table := Layout(7).Encode()
	copy(m.b, table[:])
	auto, try := AutobootSector(A), TrySector(false)
	fat16(m.b[BootStart:], []testFile{
		{"config.txt", ""}, {AutobootFile, string(auto[:])}, {TryFile, string(try[:])},
	})
	return m
}
