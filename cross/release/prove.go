package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// prove compiles again those of the made targets that shall be proven: from
// another folder, and with a cache of its own, since what comes out of the same
// cache is the same for no reason worth knowing.
func (w *workshop) prove(ctx context.Context, out string, made, proven []target) error {
	moved := filepath.Join(w.dir, "second", "somewhere", "else")
	if err := os.MkdirAll(filepath.Dir(moved), 0o755); err != nil {
		return err
	}
	if err := os.Rename(w.copy, moved); err != nil {
		return err
	}
	w.copy = moved
	for _, t := range both(made, proven) {
		again := filepath.Join(w.dir, t.name)
		if err := w.compile(ctx, t, again, "GOCACHE="+filepath.Join(w.dir, "cache")); err != nil {
			return err
		}
		if err := same(filepath.Join(out, w.name(t)), again); err != nil {
			return fmt.Errorf("%s does not come out the same twice: %w", t.name, err)
		}
		fmt.Printf("%-44s the same bytes from another folder, with nothing cached\n", w.name(t))
	}
	return nil
}

// both returns the targets that are in a and in b.
func both(a, b []target) (in []target) {
	for _, t := range a {
		for _, u := range b {
			if t.name == u.name {
				in = append(in, t)
			}
		}
	}
	return in
}

// same tells where two files differ first.
func same(a, b string) error {
	x, err := os.ReadFile(a)
	if err != nil {
		return err
	}
	y, err := os.ReadFile(b)
	if err != nil {
		return err
	}
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Errorf("byte %d of %d differs", i, len(x))
		}
	}
	if len(x) != len(y) {
		return fmt.Errorf("%d bytes and %d", len(x), len(y))
	}
	return nil
}
