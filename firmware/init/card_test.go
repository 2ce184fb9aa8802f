package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"
	"unicode/utf16"

	"cistern/firmware/slot"
)

// errCut is what a disk says when its power was cut.
var errCut = errors.New("the power is cut")

// cutDisk is a card whose power can be cut at any step. What was not synced is
// then in part on it, sector by sector, and in part not.
type cutDisk struct {
	kept  map[int64][]byte // sectors on the medium
	cache map[int64][]byte // written, not synced
	steps int
	cutAt int // the step that is not done; 0: none
}

func newCutDisk() *cutDisk {
	return &cutDisk{kept: map[int64][]byte{}, cache: map[int64][]byte{}}
}

// step counts, and says whether the power is there.
func (d *cutDisk) step() error {
	d.steps++
	if d.cutAt > 0 && d.steps >= d.cutAt {
		return errCut
	}
	return nil
}

func (d *cutDisk) ReadAt(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		at := off + int64(done)
		sector, ok := d.cache[at/slot.SectorBytes]
		if !ok {
			sector, ok = d.kept[at/slot.SectorBytes]
		}
		if !ok {
			sector = make([]byte, slot.SectorBytes)
		}
		done += copy(p[done:], sector[at%slot.SectorBytes:])
	}
	return len(p), nil
}

func (d *cutDisk) WriteAt(p []byte, off int64) (int, error) {
	cut := d.step()
	if off%slot.SectorBytes != 0 || len(p)%slot.SectorBytes != 0 {
		return 0, errors.New("a write that is no whole sectors")
	}
	if d.steps > d.cutAt && cut != nil {
		return 0, cut // long after the cut; at it, sectors may still arrive
	}
	for i := 0; i < len(p); i += slot.SectorBytes {
		d.cache[(off+int64(i))/slot.SectorBytes] = append([]byte(nil), p[i:i+slot.SectorBytes]...)
	}
	if cut != nil {
		return 0, cut
	}
	return len(p), nil
}

func (d *cutDisk) Sync() error {
	if err := d.step(); err != nil {
		return err
	}
	for at, b := range d.cache {
		d.kept[at] = b
	}
	clear(d.cache)
	return nil
}

// power gives it power again. What was not synced is there, or not.
func (d *cutDisk) power(arrived func() bool) {
	for at, b := range d.cache {
		if arrived() {
			d.kept[at] = b
		}
	}
	clear(d.cache)
	d.cutAt = 0
}

// losses are what a cut can make of the cache.
func losses(seed uint64) map[string]func() bool {
	r := rand.New(rand.NewPCG(seed, 1))
	return map[string]func() bool{
		"nothing arrived":    func() bool { return false },
		"everything arrived": func() bool { return true },
		"some arrived":       func() bool { return r.IntN(2) == 0 },
	}
}

// file is one of a FAT's root.
type file struct{ name, text string }

// fat makes a FAT16 with files of at most a cluster in its root.
func fat(bytes int, files ...file) []byte {
	const perCluster, fatSectors, rootEntries = 8, 4, 64
	b := make([]byte, bytes)
	le := binary.LittleEndian
	le.PutUint16(b[11:], slot.SectorBytes)
	b[13], b[16] = perCluster, 1
	le.PutUint16(b[14:], 1)
	le.PutUint16(b[17:], rootEntries)
	le.PutUint16(b[19:], uint16(bytes/slot.SectorBytes))
	le.PutUint16(b[22:], fatSectors)
	b[510], b[511] = 0x55, 0xaa
	table, root := b[slot.SectorBytes:], b[(1+fatSectors)*slot.SectorBytes:]
	data := root[rootEntries*32:]
	for i, f := range files {
		long, entry := root[64*i:], root[64*i+32:]
		long[0], long[11] = 1, 0x0f
		units := append(utf16.Encode([]rune(f.name)), 0)
		for k, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
			c := uint16(0xffff)
			if k < len(units) {
				c = units[k]
			}
			le.PutUint16(long[at:], c)
		}
		copy(entry, "SHORT~1 TXT\x20")
		le.PutUint16(entry[26:], uint16(2+i))
		le.PutUint32(entry[28:], uint32(len(f.text)))
		le.PutUint16(table[2*(2+i):], 0xffff)
		copy(data[i*perCluster*slot.SectorBytes:], f.text)
	}
	return b
}

// system is a slot's content: a release, and something that it needs to be whole.
func systemImage(t testing.TB, version string) (slot.Release, []byte) {
	t.Helper()
	r := slot.Release{Version: version, Commit: "c", Board: slot.BoardQemu, Build: "build-" + version}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	image := fat(256<<10, file{slot.ReleaseFile, string(text)})
	for i := len(image) / 2; i < len(image); i++ { // the kernel, say
		image[i] = byte(i/slot.SectorBytes) ^ version[1]
	}
	return r, image
}

// freshCard is a card with that version in both slots.
func freshCard(t testing.TB, image []byte) *cutDisk {
	t.Helper()
	d := newCutDisk()
	table := slot.Layout(7).Encode()
	auto, try := slot.AutobootSector(slot.A), slot.TrySector(false)
	boot := fat(128<<10, file{slot.AutobootFile, string(auto[:])}, file{slot.TryFile, string(try[:])})
	for _, w := range []struct {
		at int64
		b  []byte
	}{{0, table[:]}, {slot.BootStart, boot}, {slot.A.Start(), image}, {slot.B.Start(), image}} {
		if _, err := d.WriteAt(w.b, w.at); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	d.steps = 0
	return d
}
