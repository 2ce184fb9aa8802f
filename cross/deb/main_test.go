//go:build deb

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"cistern/cross/rig/rigtest"
)

// The versions that are installed and upgraded to.
const (
	older = "v1.0.0"
	newer = "v1.1.0-2-g0123abc"
	// newerHere is how Debian writes the newer one.
	newerHere = "1.1.0+2+g0123abc"
)

// debs are the packages under test, by version and architecture.
var debs = map[string]string{}

func TestMain(m *testing.M) { rigtest.Main(m, makePackages, nil) }

func makePackages(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	made := make(chan error)
	versions := []struct{ version, here, arch string }{
		{older, "1.0.0", "arm64,armhf"},
		{newer, newerHere, "arm64"},
	}
	for _, p := range versions {
		out := filepath.Join(dir, p.here)
		for _, a := range arches {
			debs[p.version+" "+a.name] = filepath.Join(out, fmt.Sprintf("cistern_%s_%s.deb", p.here, a.name))
		}
		go func() { made <- run(ctx, []string{"-out", out, "-version", p.version, "-arch", p.arch}) }()
	}
	var err error
	for range versions {
		err = errors.Join(err, <-made)
	}
	return err
}

var must, within = rigtest.Must, rigtest.Within
