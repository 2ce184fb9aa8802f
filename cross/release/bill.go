package main

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
)

// bill is what is in one binary, by what the binary itself says.
type bill struct {
	name    string // of the file
	version string
	commit  string
	target  string
	seconds int64
	sum     [sha256.Size]byte
	terms   terms
	parts   []part // modules and the standard library, by path
}

// part is one module in it.
type part struct {
	path    string
	version string
	sum     string // hex of go.sum's h1, "" for the standard library
	terms   terms
}

// bill reads a binary and looks up the licence of all that it says is in it.
func (w *workshop) bill(ctx context.Context, t target, binary string) (bill, error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return bill{}, err
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return bill{}, err
	}
	b := bill{name: w.name(t), version: w.source.Version, commit: w.source.Commit, target: t.name, seconds: w.source.Seconds, sum: sha256.Sum256(content)}
	if b.terms, err = readTerms(w.copy); err != nil {
		return bill{}, err
	}
	if b.parts, err = modules(info); err != nil {
		return bill{}, fmt.Errorf("%s: %w", binary, err)
	}
	dirs, err := w.folders(ctx, t, b.parts)
	if err != nil {
		return bill{}, err
	}
	for i := range b.parts {
		if b.parts[i].terms, err = readTerms(dirs[b.parts[i].path]); err != nil {
			return bill{}, fmt.Errorf("the licence of %s: %w", b.parts[i].path, err)
		}
	}
	return b, nil
}

// standard is what the standard library is called in bills of materials.
const standard = "std"

func modules(info *debug.BuildInfo) ([]part, error) {
	parts := []part{{path: standard, version: strings.TrimPrefix(info.GoVersion, "go")}}
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		h1, ok := strings.CutPrefix(d.Sum, "h1:")
		sum, err := base64.StdEncoding.DecodeString(h1)
		if err != nil || !ok || len(sum) != sha256.Size {
			return nil, fmt.Errorf("%s %s has no checksum of go.sum (%q): a module from a folder can't be released", d.Path, d.Version, d.Sum)
		}
		parts = append(parts, part{path: d.Path, version: d.Version, sum: fmt.Sprintf("%x", sum)})
	}
	slices.SortFunc(parts, func(a, b part) int { return strings.Compare(a.path, b.path) })
	return parts, nil
}

// folders finds where the modules' sources lie.
func (w *workshop) folders(ctx context.Context, t target, parts []part) (map[string]string, error) {
	root, err := w.goTool(ctx, t, []string{"env", "GOROOT"})
	if err != nil {
		return nil, err
	}
	dirs := map[string]string{standard: strings.TrimSpace(root)}
	args := []string{"list", "-m", "-f", "{{.Path}} {{.Dir}}"}
	for _, p := range parts {
		if p.path != standard {
			args = append(args, p.path)
		}
	}
	out, err := w.goTool(ctx, t, args)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
		dirs[path] = dir
	}
	return dirs, nil
}

// add takes up what another binary has and this one has not.
func (b *bill) add(more bill) {
	b.terms, b.version = more.terms, more.version
	for _, p := range more.parts {
		if !slices.ContainsFunc(b.parts, func(q part) bool { return q.path == p.path && q.version == p.version }) {
			b.parts = append(b.parts, p)
		}
	}
}

// texts returns the licences in full, which most of them ask to go along.
func (b *bill) texts() []byte {
	var s strings.Builder
	fmt.Fprintf(&s, "cistern %s is under %s:\n\n%s\n", b.version, b.terms.id, b.terms.text)
	for _, p := range b.parts {
		fmt.Fprintf(&s, "\n%s\n%s %s (%s)\n\n%s\n", strings.Repeat("=", 80), p.path, p.version, p.terms.id, p.terms.text)
	}
	return []byte(s.String())
}
