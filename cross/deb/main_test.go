//go:build deb

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
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

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "cistern-deb-")
	if err == nil {
		err = makePackages(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func makePackages(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
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

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within is the test's context with a deadline.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, fmt.Errorf("not within %s", d))
	t.Cleanup(cancel)
	return ctx
}
