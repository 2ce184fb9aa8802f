package main

import (
	"os"
	"path/filepath"
	"testing"
)

// A command that names no gateway means the one that is in this folder, else the
// package's.
func TestPackagedGatewayIsFound(t *testing.T) {
	here, elsewhere := t.TempDir(), t.TempDir()
	t.Chdir(here)
	was := packagedConfig
	t.Cleanup(func() { packagedConfig = was })
	packagedConfig = filepath.Join(elsewhere, "cistern.toml")

	data := func(p place) string {
		t.Helper()
		c, err := p.existing()
		if err != nil {
			t.Fatal(err)
		}
		return c.Gateway.Data
	}
	if got := data(place{}); got != "cistern-data" {
		t.Errorf("without a package: %s", got)
	}
	if err := os.WriteFile(packagedConfig, []byte("[gateway]\ndata = '/somewhere'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := data(place{}); got != "/somewhere" {
		t.Errorf("with a package: %s", got)
	}
	if got := data(place{data: "other"}); got != "other" {
		t.Errorf("with a folder that is named: %s", got)
	}
	if err := os.Mkdir("cistern-data", 0o700); err != nil {
		t.Fatal(err)
	}
	if got := data(place{}); got != "cistern-data" {
		t.Errorf("with a folder here: %s", got)
	}
}
