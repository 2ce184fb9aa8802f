package licence

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
)

// Part is one module in a program, or the standard library.
type Part struct {
	Path    string
	Version string
	Sum     string // hex of go.sum's h1, "" for the standard library
	Terms   Terms
}

// Tool runs the go command in the source tree that a program was made from, and
// returns what it prints.
type Tool func(ctx context.Context, args ...string) (string, error)

// Parts are all that a program says is in it, by path, and their terms.
func Parts(ctx context.Context, program string, tool Tool) ([]Part, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, err
	}
	parts, err := modules(info)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	dirs, err := folders(ctx, tool, parts)
	if err != nil {
		return nil, err
	}
	for i := range parts {
		if parts[i].Terms, err = Read(dirs[parts[i].Path]); err != nil {
			return nil, fmt.Errorf("the licence of %s: %w", parts[i].Path, err)
		}
	}
	return parts, nil
}

// standard is what the standard library is called in bills of materials.
const standard = "std"

func modules(info *debug.BuildInfo) ([]Part, error) {
	parts := []Part{{Path: standard, Version: strings.TrimPrefix(info.GoVersion, "go")}}
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		h1, ok := strings.CutPrefix(d.Sum, "h1:")
		sum, err := base64.StdEncoding.DecodeString(h1)
		if err != nil || !ok || len(sum) != sha256.Size {
			return nil, fmt.Errorf("%s %s has no checksum of go.sum (%q): a module from a folder can't be released", d.Path, d.Version, d.Sum)
		}
		parts = append(parts, Part{Path: d.Path, Version: d.Version, Sum: fmt.Sprintf("%x", sum)})
	}
	slices.SortFunc(parts, func(a, b Part) int { return strings.Compare(a.Path, b.Path) })
	return parts, nil
}

// folders finds where the modules' sources lie.
func folders(ctx context.Context, tool Tool, parts []Part) (map[string]string, error) {
	root, err := tool(ctx, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	dirs := map[string]string{standard: strings.TrimSpace(root)}
	args := []string{"list", "-m", "-f", "{{.Path}} {{.Dir}}"}
	for _, p := range parts {
		if p.Path != standard {
			args = append(args, p.Path)
		}
	}
	out, err := tool(ctx, args...)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
		dirs[path] = dir
	}
	return dirs, nil
}

// Merge adds to some parts what others have and these have not.
func Merge(parts, more []Part) []Part {
	for _, p := range more {
		if !slices.ContainsFunc(parts, func(q Part) bool { return q.Path == p.Path && q.Version == p.Version }) {
			parts = append(parts, p)
		}
	}
	return parts
}

// Texts returns the licences in full, which most of them ask to go along: that of
// this version of Cistern, and those of its parts.
func Texts(version string, own Terms, parts []Part) []byte {
	var s strings.Builder
	fmt.Fprintf(&s, "cistern %s is under %s:\n\n%s\n", version, own.ID, own.Text)
	for _, p := range parts {
		s.WriteString(Section(fmt.Sprintf("%s %s (%s)", p.Path, p.Version, p.Terms.ID), p.Terms.Text))
	}
	return []byte(s.String())
}

// Section is what is said of one part.
func Section(title, text string) string {
	return fmt.Sprintf("\n%s\n%s\n\n%s\n", strings.Repeat("=", 80), title, text)
}
