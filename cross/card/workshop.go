package card

import (
	"context"
	"os"
	"path/filepath"

	"cistern/firmware/image"
)

// Workshop makes images and updates from this source tree.
type Workshop struct {
	Source image.Source
	Cache  string // build/image in the source tree, as for `make image`

	log func(string)
}

// Open finds the source tree. log is told what is being done; it may be nil.
func Open(ctx context.Context, version string, log func(string)) (*Workshop, error) {
	root, err := image.FindRoot(".")
	if err != nil {
		return nil, err
	}
	w := &Workshop{Cache: filepath.Join(root, "build", "image"), log: log}
	if w.Source, err = image.FindSource(ctx, root, version); err != nil {
		return nil, err
	}
	return w, os.MkdirAll(w.Cache, 0o755)
}

// Part is a system other than the one that ships.
type Part struct {
	Version  string         // empty: the source's
	Binaries image.Binaries // empty: what ships
}

// System makes one for a site's gateways.
func (w *Workshop) System(ctx context.Context, board string, s *Site, p Part) (image.System, error) {
	site, err := image.ReadSite(s.Config())
	if err != nil {
		return image.System{}, err
	}
	source := w.Source
	if p.Version != "" {
		source.Version = p.Version
	}
	return image.Build(ctx, image.Options{
		Source: source, Board: board, Site: site, Cache: w.Cache, Binaries: p.Binaries, Log: w.log,
	})
}

// Image makes the image of a card.
func (w *Workshop) Image(ctx context.Context, path, board string, s *Site, p Part) error {
	system, err := w.System(ctx, board, s, p)
	if err != nil {
		return err
	}
	site, err := image.ReadSite(s.Config())
	if err != nil {
		return err
	}
	parts, err := image.FindParts(ctx, w.Source.Root)
	if err != nil {
		return err
	}
	return image.WriteCard(ctx, path, system, site, parts, w.Source.Seconds)
}

// Update makes an update for a site's gateways, signed with signer's key.
func (w *Workshop) Update(ctx context.Context, path, board string, s, signer *Site, p Part) error {
	system, err := w.System(ctx, board, s, p)
	if err != nil {
		return err
	}
	key, err := signer.UpdateKey()
	if err != nil {
		return err
	}
	_, err = image.WriteUpdate(path, key, system)
	return err
}
