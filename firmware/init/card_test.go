package main

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"

	"cistern/firmware/init/cardtest"
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

// systemImage is a slot's content: a release, and something that it needs to be whole.
func systemImage(t testing.TB, version string) (slot.Release, []byte) {
	t.Helper()
	r := slot.Release{Version: version, Commit: "c", Board: slot.BoardQemu, Build: "build-" + version}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	image := cardtest.FAT(256<<10, cardtest.File{Path: slot.ReleaseFile, Text: string(text)})
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
	boot := cardtest.FAT(128<<10, cardtest.File{Path: slot.AutobootFile, Text: string(auto[:])}, cardtest.File{Path: slot.TryFile, Text: string(try[:])})
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
