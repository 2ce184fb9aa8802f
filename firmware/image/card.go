package image

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"cistern/firmware/slot"
)

// WriteCard writes a whole image to a new file. It is there whole or not at all.
func WriteCard(ctx context.Context, path string, s System, site Site, parts Parts, seconds int64) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".card-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := fill(ctx, f, s, site, parts, seconds); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	// Its owner's alone, as CreateTemp made it: the site's key is in it.
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func fill(ctx context.Context, f *os.File, s System, site Site, parts Parts, seconds int64) error {
	build := s.Release.Build
	if err := f.Truncate(slot.ImageBytes); err != nil {
		return err
	}
	table := slot.Layout(number(build, "disk")).Encode()
	if _, err := f.WriteAt(table[:], 0); err != nil {
		return err
	}
	card := slot.NewFile(f)
	for _, which := range []slot.Slot{slot.A, slot.B} {
		if err := writeSparse(which.On(card), s.Image); err != nil {
			return err
		}
	}
	boot, err := bootFiles(s.Release.Board, site, parts)
	if err != nil {
		return err
	}
	if err := bootFAT(f.Name(), build).write(ctx, boot, seconds); err != nil {
		return err
	}
	return writeData(ctx, f.Name(), uuid(build, "data"), seconds)
}

// WriteUpdate writes a signed update to a new file. It is there whole or not at
// all.
func WriteUpdate(path string, key ed25519.PrivateKey, s System) (slot.Manifest, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".update-*")
	if err != nil {
		return slot.Manifest{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	m, err := slot.WriteUpdate(f, key, s.Release, s.Image)
	if err != nil {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return m, err
	}
	return m, os.Rename(f.Name(), path)
}

// writeSparse leaves out what is empty: the file is zero there already.
func writeSparse(d slot.Disk, b []byte) error {
	const step = 64 << 10
	var zero [step]byte
	for at := 0; at < len(b); at += step {
		piece := b[at:min(at+step, len(b))]
		if string(piece) == string(zero[:len(piece)]) {
			continue
		}
		if _, err := d.WriteAt(piece, int64(at)); err != nil {
			return err
		}
	}
	return nil
}

func bootFAT(file, build string) fat {
	return fat{file: file, at: slot.BootStart, bytes: slot.BootBytes, label: slot.BootLabel,
		serial: number(build, "boot"), perUnit: 4, hidden: slot.BootStart / slot.SectorBytes}
}

const bootReadme = `This is a gateway of Cistern.

The folder "cistern" holds its configuration, and you may edit it with any
editor, on any computer:

  cistern.toml   the configuration, the same on all gateways of a site
  gateway.toml   what differs on this one: its name, its address

The gateway reads them when it starts. Leave the other files here alone: they
decide which system starts.
`

// bootFiles is what p1 holds.
func bootFiles(board string, site Site, parts Parts) (files, error) {
	auto, try := slot.AutobootSector(slot.A), slot.TrySector(false)
	out := files{
		slot.AutobootFile: auto[:],
		slot.TryFile:      try[:],
		// The Pi's firmware wants to see one, empty, before it goes on to a slot.
		configFile:   {},
		"README.txt": []byte(bootReadme),
	}
	if board == slot.BoardPi {
		b, err := os.ReadFile(filepath.Join(parts.Firmware, bootcodeFile))
		if err != nil {
			return nil, err
		}
		out[bootcodeFile] = b
	}
	for name, b := range site.files {
		out[BootFolder+"/"+name] = b
	}
	if site.files == nil {
		out[BootFolder+"/"+ConfigFile] = []byte(noSite)
	}
	return out, nil
}

// noSite is the configuration of an image that was made without one.
const noSite = `# No configuration yet: the gateway listens for MQTT on itself only, and buffers.
# "cistern config" prints every key; "cistern-image new" makes a site's folder.
`

// AddToCard puts files into p1's folder of an image or a card, over those of
// the same names.
func AddToCard(ctx context.Context, path string, add map[string][]byte, seconds int64) error {
	for _, b := range add {
		if slot.HoldsPrivate(b) {
			return ErrPrivate
		}
	}
	d, err := slot.Open(path)
	if err != nil {
		return err
	}
	_, err = slot.ReadTable(d)
	if err = errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	content := make(files)
	for name, b := range add {
		content[BootFolder+"/"+name] = b
	}
	if err := bootFAT(path, "").add(ctx, content, seconds); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// CopySparse copies an image into an empty file, and leaves out what is zero.
func CopySparse(ctx context.Context, from io.ReaderAt, to slot.Disk, bytes int64) error {
	const step = 4 << 20
	buf := make([]byte, step)
	for at := int64(0); at < bytes; at += step {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := buf[:min(step, bytes-at)]
		if _, err := from.ReadAt(b, at); err != nil {
			return err
		}
		if err := writeSparse(slot.Section(to, at, int64(len(b))), b); err != nil {
			return err
		}
	}
	return nil
}
