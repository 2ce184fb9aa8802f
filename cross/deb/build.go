package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	agent "cistern/cross/build"
	"cistern/firmware/image"
	"cistern/firmware/licence"
)

// arch is an architecture as Debian names it, and how Go builds for it.
type arch struct {
	name string
	env  []string
}

// arches are those of the gateways we support. armhf is ARMv7 in Debian and ARMv6
// on Raspberry Pi OS: ARMv6 runs on both.
var arches = []arch{
	{"armhf", []string{"GOARCH=arm", "GOARM=6"}},
	{"arm64", []string{"GOARCH=arm64", "GOARM64=v8.0"}},
	{"amd64", []string{"GOARCH=amd64", "GOAMD64=v1"}},
}

func names() (all []string) {
	for _, a := range arches {
		all = append(all, a.name)
	}
	return all
}

// choose finds the architectures of a list; an empty one is all.
func choose(list string) ([]arch, error) {
	if list == "" {
		return arches, nil
	}
	var chosen []arch
	for _, name := range strings.Split(list, ",") {
		i := slices.IndexFunc(arches, func(a arch) bool { return a.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no package for %q: there are %s", name, strings.Join(names(), ", "))
		}
		chosen = append(chosen, arches[i])
	}
	return chosen, nil
}

const nfpmPackage = "github.com/goreleaser/nfpm/v2/cmd/nfpm"

// build is one version of the source on its way into packages.
type build struct {
	source  image.Source
	version string // as Debian writes it
	out     string // where the packages go
	work    string // where what goes into them is made, under out
}

// newBuild makes what all packages share: the tool, pages and completions.
func newBuild(ctx context.Context, version, out string) (*build, error) {
	root, err := image.FindRoot(".")
	if err != nil {
		return nil, err
	}
	source, err := image.FindSource(ctx, root, version)
	if err != nil {
		return nil, err
	}
	if out, err = filepath.Abs(out); err != nil {
		return nil, err
	}
	b := &build{source: source, out: out, work: filepath.Join(out, "work")}
	if b.version, err = debianVersion(source.Version, source.Seconds); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(b.work, 0o755); err != nil {
		return nil, err
	}
	if err := b.run(ctx, filepath.Join(root, "cross", "deb", "nfpm"), []string{"GOWORK=off"}, "go", "build", "-o", b.nfpm(), nfpmPackage); err != nil {
		return nil, err
	}
	return b, b.docs(ctx)
}

func (b *build) nfpm() string          { return filepath.Join(b.work, "nfpm") }
func (b *build) docsFolder() string    { return filepath.Join(b.work, "docs") }
func (b *build) program(a arch) string { return filepath.Join(b.work, a.name, "cistern") }
func (b *build) licencesFile(a arch) string {
	return filepath.Join(b.work, a.name, "licences.txt")
}
func (b *build) given(n string) string {
	return filepath.Join(b.source.Root, "cross", "deb", "package", n)
}

// docs makes the pages anew, so that none of a command that is gone stays.
func (b *build) docs(ctx context.Context) error {
	if err := os.RemoveAll(b.docsFolder()); err != nil {
		return err
	}
	writer := filepath.Join(b.work, "docs-writer")
	err := b.run(ctx, b.source.Root, []string{"CGO_ENABLED=0"}, "go", "build", "-tags=docs", "-buildvcs=false",
		"-ldflags=-X main.version="+b.source.Version, "-o", writer, agent.Agent)
	if err != nil {
		return err
	}
	if err := b.run(ctx, b.source.Root, []string{b.epoch()}, writer, "docs", b.docsFolder()); err != nil {
		return err
	}
	return b.compressPages()
}

// pack makes the package of one architecture and returns its path.
func (b *build) pack(ctx context.Context, a arch) (string, error) {
	// What the environment says of how to build is left out, as in a release.
	env := append([]string{"CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOFIPS140=off"}, a.env...)
	args := append([]string{"build", "-buildvcs=false"}, agent.Flags()...)
	args = append(args, "-ldflags="+agent.Linked(b.source.Version, b.source.Commit), "-o", b.program(a), agent.Agent)
	if err := b.run(ctx, b.source.Root, env, "go", args...); err != nil {
		return "", err
	}
	if err := b.licences(ctx, a); err != nil {
		return "", err
	}
	recipe, err := b.recipe(a)
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.work, a.name, "nfpm.yaml")
	if err := os.WriteFile(path, recipe, 0o644); err != nil {
		return "", err
	}
	deb := filepath.Join(b.out, fmt.Sprintf("cistern_%s_%s.deb", b.version, a.name))
	return deb, b.run(ctx, b.work, []string{b.epoch()}, b.nfpm(), "package", "--packager", "deb", "--config", path, "--target", deb)
}

// licences writes down the terms of all that is linked into the program.
func (b *build) licences(ctx context.Context, a arch) error {
	own, err := licence.Read(b.source.Root)
	if err != nil {
		return err
	}
	parts, err := licence.Parts(ctx, b.program(a), func(ctx context.Context, args ...string) (string, error) {
		c := exec.CommandContext(ctx, "go", args...)
		c.Dir, c.Env = b.source.Root, append(os.Environ(), "GOFLAGS=", "GOWORK=off")
		out, err := c.Output()
		return string(out), err
	})
	if err != nil {
		return err
	}
	return os.WriteFile(b.licencesFile(a), licence.Texts(b.source.Version, own, parts), 0o644)
}

// epoch makes a tool take the commit's time for now.
func (b *build) epoch() string { return fmt.Sprint("SOURCE_DATE_EPOCH=", b.source.Seconds) }

// run runs a tool; what it says is in the error.
func (b *build) run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s is not installed: %w", name, err)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), args[0], err, out)
	}
	return nil
}
