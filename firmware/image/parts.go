package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// The modules of firmware/parts.
const (
	kernelModule   = "github.com/gokrazy/kernel.rpi"
	firmwareModule = "github.com/gokrazy/firmware"
)

// Parts are the folders with what we do not make ourselves.
type Parts struct {
	Kernel   string // vmlinuz, device trees, overlays
	Firmware string // bootcode.bin, start*.elf, fixup*.dat
}

// FindParts finds the folders of the pinned modules, and has Go download them
// where they are not there yet. root is the source tree.
func FindParts(ctx context.Context, root string) (Parts, error) {
	out, err := call{dir: filepath.Join(root, "firmware", "parts"), env: []string{"GOWORK=off"}}.
		run(ctx, "go", "mod", "download", "-json", kernelModule, firmwareModule)
	dirs, listed := moduleDirs(out)
	if err != nil || listed != nil {
		return Parts{}, fmt.Errorf("kernel and Pi firmware: %w", errors.Join(err, listed))
	}
	p := Parts{Kernel: dirs[kernelModule], Firmware: dirs[firmwareModule]}
	for _, d := range []string{p.Kernel, p.Firmware} {
		if st, err := os.Stat(d); err != nil || !st.IsDir() {
			return Parts{}, fmt.Errorf("kernel and Pi firmware: go mod download names no folder: %q", d)
		}
	}
	return p, nil
}

// moduleDirs reads what `go mod download -json` prints: one object per module.
func moduleDirs(out []byte) (map[string]string, error) {
	dirs := make(map[string]string)
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var m struct{ Path, Dir, Error string }
		switch err := d.Decode(&m); {
		case err == io.EOF:
			return dirs, nil
		case err != nil:
			return nil, fmt.Errorf("go mod download: %w", err)
		case m.Error != "":
			return nil, fmt.Errorf("%s: %s", m.Path, m.Error)
		}
		dirs[m.Path] = m.Dir
	}
}

// FindRoot finds the source tree that dir is in.
func FindRoot(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		if b, err := os.ReadFile(filepath.Join(d, "go.mod")); err == nil && strings.HasPrefix(string(b), "module cistern\n") {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("%s is not in Cistern's source tree; run this there", dir)
		}
	}
}
