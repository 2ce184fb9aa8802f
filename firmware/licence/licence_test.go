package licence

import (
	"context"
	"errors"
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
	if _, err := identify("GNU GENERAL PUBLIC LICENSE Version 3"); err == nil || !strings.Contains(err.Error(), "terms.go") {
		t.Errorf("one that nobody looked at: %v", err)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a folder without a licence: %v", err)
	}
	for name, text := range map[string]string{"LICENSE.md": "Apache License Version 2.0, January 2004", "NOTICE": "made by somebody"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Read(dir)
	if err != nil || got.ID != "Apache-2.0" || !strings.Contains(got.Text, "made by somebody") {
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
	if b.Path != "b.org/b" || b.Version != "v2.0.0+incompatible" || b.Sum[:8] != "00010203" || len(b.Sum) != 64 {
		t.Errorf("what replaces another: %+v", b)
	}
	if std.Path != "std" || std.Version != "1.26.0" {
		t.Errorf("%+v", std)
	}
	info.Deps[0].Sum = ""
	if _, err := modules(info); err == nil || !strings.Contains(err.Error(), "z.org/z") {
		t.Errorf("a module from a folder: %v", err)
	}
}

// A program names its parts, and each has its text: here this test and its tool.
func TestParts(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "LICENSE"), []byte("Neither the name of"), 0o644); err != nil {
		t.Fatal(err)
	}
	tool := func(_ context.Context, args ...string) (string, error) {
		if args[0] == "env" {
			return root + "\n", nil
		}
		return "", nil
	}
	parts, err := Parts(t.Context(), self, tool)
	if err != nil || len(parts) != 1 || parts[0].Path != standard || parts[0].Terms.ID != "BSD-3-Clause" {
		t.Errorf("%+v, %v", parts, err)
	}
	if _, err := Parts(t.Context(), filepath.Join(root, "LICENSE"), tool); err == nil {
		t.Error("a text says what is linked into it")
	}
	if err := os.Remove(filepath.Join(root, "LICENSE")); err != nil {
		t.Fatal(err)
	}
	if _, err := Parts(t.Context(), self, tool); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "the licence of std") {
		t.Errorf("a part without a licence: %v", err)
	}
}

func TestTexts(t *testing.T) {
	parts := []Part{{"a.org/a", "v1.0.0", "", Terms{"MIT", "all of it"}}}
	both := Merge(Merge(nil, parts), append(parts, Part{Path: "a.org/a", Version: "v1.1.0"}))
	text := string(Texts("1", Terms{"Apache-2.0", "ours"}, both))
	if !strings.HasPrefix(text, "cistern 1 is under Apache-2.0:\n\nours\n") || strings.Count(text, "a.org/a v1.0.0 (MIT)\n\nall of it\n") != 1 || strings.Count(text, "a.org/a v1.1.0") != 1 {
		t.Error(text)
	}
}
