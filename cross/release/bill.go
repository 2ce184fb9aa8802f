package main

import (
	"context"
	"crypto/sha256"
	"os"

	"cistern/firmware/licence"
)

// bill is what is in one binary, by what the binary itself says.
type bill struct {
	name    string // of the file
	version string
	commit  string
	target  string
	seconds int64
	sum     [sha256.Size]byte
	terms   licence.Terms
	parts   []licence.Part // modules and the standard library, by path
}

// bill reads a binary and looks up the licence of all that it says is in it.
func (w *workshop) bill(ctx context.Context, t target, binary string) (bill, error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return bill{}, err
	}
	b := bill{name: w.name(t), version: w.source.Version, commit: w.source.Commit, target: t.name, seconds: w.source.Seconds, sum: sha256.Sum256(content)}
	if b.terms, err = licence.Read(w.copy); err != nil {
		return bill{}, err
	}
	b.parts, err = licence.Parts(ctx, binary, func(ctx context.Context, args ...string) (string, error) {
		return w.goTool(ctx, t, args)
	})
	return b, err
}

// add takes up what another binary has and this one has not.
func (b *bill) add(more bill) {
	b.terms, b.version = more.terms, more.version
	b.parts = licence.Merge(b.parts, more.parts)
}
