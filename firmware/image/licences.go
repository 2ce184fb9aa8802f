package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"cistern/firmware/licence"
)

// LicencesFile in a slot holds what whoever hands an image on has to hand on with
// it: the terms of all that is in the initramfs. Those of the kernel and of the Pi's
// firmware lie beside it, as their makers wrote them.
const LicencesFile = "LICENCES.txt"

// hostRootsTerms is where Debian keeps the terms of hostRoots.
const hostRootsTerms = "/usr/share/doc/ca-certificates/copyright"

// licences makes LicencesFile. The GPL's text that e2fsck is under is the one in
// the kernel's licence.
func (o *Options) licences(ctx context.Context, b Binaries, fsckTerms string) ([]byte, error) {
	text, err := o.ownLicences(ctx, b)
	if err != nil {
		return nil, err
	}
	for _, part := range []struct{ title, path string }{
		{"e2fsck, of Debian's " + fsckPackage + ". The GPL, version 2, that it refers to is in LICENSE.linux", fsckTerms},
		{"ca-certificates.crt, of Debian's ca-certificates", hostRootsTerms},
	} {
		terms, err := os.ReadFile(part.path)
		if err != nil {
			return nil, fmt.Errorf("the terms of what is in an image: %w", err)
		}
		text = append(text, licence.Section(part.title, string(terms))...)
	}
	return text, nil
}

// ownLicences are those of agent and init, and of what is linked into them.
func (o *Options) ownLicences(ctx context.Context, b Binaries) ([]byte, error) {
	if b.Licences != "" {
		return os.ReadFile(b.Licences)
	}
	own, err := licence.Read(o.Source.Root)
	if err != nil {
		return nil, err
	}
	tool := func(ctx context.Context, args ...string) (string, error) {
		out, err := call{dir: o.Source.Root, env: clean}.run(ctx, "go", args...)
		return string(out), err
	}
	var parts []licence.Part
	for _, program := range []string{b.Agent, b.Init} {
		more, err := licence.Parts(ctx, program, tool)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(program), err)
		}
		parts = licence.Merge(parts, more)
	}
	return licence.Texts(o.Source.Version, own, parts), nil
}
