package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

func TestIdentify(t *testing.T) {
	for want, text := range map[string]string{
		"Apache-2.0":           "   Apache License\n   Version 2.0, January 2004\n",
		"BSD-2-Clause":         "Redistribution and use in source and binary\nforms, with or without",
		"BSD-3-Clause":         "Redistribution and use in source and binary forms ... Neither the name of Google",
		"BSD-3-Clause AND MIT": "Neither the name of\n---\nPermission is hereby granted, free of charge, to any person obtaining a copy",
		"EPL-2.0":              "Eclipse Public License - v 2.0 (EPL-2.0)",
		"MPL-2.0":              "Mozilla Public License, version 2.0\n\n1. Definitions",
	} {
		if got, err := identify(text); err != nil || got != want {
			t.Errorf("%s: %q, %v", want, got, err)
		}
	}
	if _, err := identify("GNU GENERAL PUBLIC LICENSE Version 3"); err == nil || !strings.Contains(err.Error(), "licence.go") {
		t.Errorf("one that nobody looked at: %v", err)
	}
}

func TestReadTerms(t *testing.T) {
	dir := t.TempDir()
	if _, err := readTerms(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a folder without a licence: %v", err)
	}
	for name, text := range map[string]string{"LICENSE.md": "Apache License Version 2.0, January 2004", "NOTICE": "made by somebody"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readTerms(dir)
	if err != nil || got.id != "Apache-2.0" || !strings.Contains(got.text, "made by somebody") {
		t.Errorf("%+v, %v", got, err)
	}
}

const h1 = "h1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

func TestModules(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.0", Deps: []*debug.Module{
		{Path: "z.org/z", Version: "v1.0.0", Sum: h1},
		{Path: "a.org/a", Version: "v1.0.0", Replace: &debug.Module{Path: "b.org/b", Version: "v2.0.0+incompatible", Sum: h1}},
	}}
	parts, err := modules(info)
	if err != nil || len(parts) != 3 {
		t.Fatalf("%+v, %v", parts, err)
	}
	b, std := parts[0], parts[1]
	if b.purl() != "pkg:golang/b.org/b@v2.0.0%2Bincompatible" || b.sum[:8] != "00010203" || len(b.sum) != 64 {
		t.Errorf("what replaces another: %+v, %s", b, b.purl())
	}
	if std.path != "std" || std.version != "1.26.0" {
		t.Errorf("%+v", std)
	}
	info.Deps[0].Sum = ""
	if _, err := modules(info); err == nil || !strings.Contains(err.Error(), "z.org/z") {
		t.Errorf("a module from a folder: %v", err)
	}
}

func TestCycloneDX(t *testing.T) {
	b := bill{name: "cistern_1_x", version: "1", commit: "c0ffee", target: "x", terms: terms{id: "Apache-2.0"}, seconds: 1700000000,
		parts: []part{{"a.org/a", "v1.0.0", strings.Repeat("ab", 32), terms{id: "MIT"}}, {"std", "1.26.0", "", terms{id: "BSD-3-Clause"}}}}
	first, err := json.Marshal(b.cycloneDX())
	if err != nil {
		t.Fatal(err)
	}
	if second, err := json.Marshal(b.cycloneDX()); err != nil || string(second) != string(first) {
		t.Error("two runs over the same differ")
	}
	for _, want := range []string{
		`"bomFormat":"CycloneDX","specVersion":"1.5","serialNumber":"urn:uuid:00000000-0000-8000-8000-000000000000"`,
		`"timestamp":"2023-11-14T22:13:20Z"`,
		`"purl":"pkg:golang/a.org/a@v1.0.0"`,
		`"licenses":[{"expression":"MIT"}]`,
		`"dependsOn":["pkg:golang/a.org/a@v1.0.0","pkg:golang/std@1.26.0"]`,
	} {
		if !strings.Contains(string(first), want) {
			t.Errorf("%s is missing in\n%s", want, first)
		}
	}
	if strings.Count(string(first), `"hashes"`) != 2 { // the binary's and a.org/a's
		t.Errorf("%s", first)
	}
	var all bill
	all.add(b)
	all.add(b)
	if text := string(all.texts()); strings.Count(text, "a.org/a v1.0.0 (MIT)") != 1 || !strings.HasPrefix(text, "cistern 1 is under Apache-2.0") {
		t.Error(text)
	}
}
