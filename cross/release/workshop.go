package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"cistern/cross/build"
	"cistern/firmware/image"
)

// workshop holds a copy of the source, so that what is edited meanwhile gets
// into neither build, or into both.
type workshop struct {
	source image.Source
	dir    string // ours, removed at the end
	copy   string // the source, in it
}

func newWorkshop(source image.Source) (*workshop, error) {
	dir, err := os.MkdirTemp("", "cistern-release-")
	if err != nil {
		return nil, err
	}
	w := &workshop{source: source, dir: dir, copy: filepath.Join(dir, "first")}
	if err := copyTree(w.copy, source.Root); err != nil {
		w.close()
		return nil, fmt.Errorf("copying %s: %w", source.Root, err)
	}
	return w, nil
}

func (w *workshop) close() { os.RemoveAll(w.dir) }

// leftOut are the folders at the top of the tree that are no source.
var leftOut = map[string]bool{".git": true, "build": true, "cistern-data": true}

// copyTree copies files and folders; a link would leave the tree, and none is in it.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && leftOut[name]:
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), b, 0o644)
	})
}

func (w *workshop) name(t target) string { return "cistern_" + w.source.Version + "_" + t.name }

// compile makes the binary of one target from the copy. What the environment
// says of how to build is left out: a release is the same from every machine.
func (w *workshop) compile(ctx context.Context, t target, binary string, env ...string) error {
	args := append([]string{"build", "-buildvcs=false"}, build.Flags()...)
	args = append(args, "-ldflags="+build.Linked(w.source.Version, w.source.Commit), "-o", binary, build.Agent)
	if _, err := w.goTool(ctx, t, args, env...); err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	return nil
}

// goTool runs the go command in the copy, for a target.
func (w *workshop) goTool(ctx context.Context, t target, args []string, env ...string) (string, error) {
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = w.copy
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOFIPS140=off")
	c.Env = append(append(c.Env, t.env...), env...)
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, stderr.String())
	}
	return string(out), nil
}
