package image

import (
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The agent in an image is the one that `make build` makes.
func TestFlagsAreThoseOfMakeBuild(t *testing.T) {
	root, err := FindRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	s := Source{Root: root, Version: "v1.2.3", Commit: "abcdef"}
	out, err := call{dir: root}.run(t.Context(), "make", "-n", "build", "VERSION="+s.Version, "COMMIT="+s.Commit)
	if err != nil {
		t.Fatal(err)
	}
	args, err := s.buildArgs()
	if err != nil {
		t.Fatal(err)
	}
	flags := args[2:] // after build -buildvcs=false, which is the environment's elsewhere
	says := strings.ReplaceAll(string(out), "'", "")
	for _, want := range flags {
		if !strings.Contains(says, " "+want+" ") {
			t.Errorf("an image's agent is built with %q, make build says: %s", want, says)
		}
	}
	if len(flags) < 3 {
		t.Errorf("only %q", flags)
	}
}

func TestFindSource(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	s, err := FindSource(t.Context(), t.TempDir(), "v9")
	if err != nil || s.Version != "v9" || s.Commit != "unknown" || s.Seconds != 1700000000 {
		t.Errorf("outside of git: %+v, %v", s, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := FindSource(t.Context(), t.TempDir(), ""); err == nil || !strings.Contains(err.Error(), "yesterday") {
		t.Errorf("%v", err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "12")
	if s, err := FindSource(t.Context(), t.TempDir(), ""); err != nil || s.Seconds < 315532800 {
		t.Errorf("a time that FAT does not know: %+v, %v", s, err)
	}
}

// What somebody's shell says of how to build gets into no image.
func TestTheEnvironmentBuildsNothing(t *testing.T) {
	files := map[string]string{"go.mod": "module cistern\n\ngo 1.26\n", shippedFlags: "-trimpath\n"}
	for _, dir := range []string{"agent/cistern/", "firmware/init/"} {
		files[dir+"main.go"] = "package main\n\nfunc main() {}\n"
		files[dir+"leak.go"] = "//go:build leak || arm64.v9.0 || mips\n\npackage main\n\nvar _ = leaked\n"
	}
	s := Source{Root: folderWith(t, files), Version: "v1", Commit: "abc"}
	for key, value := range map[string]string{"GOFLAGS": "-tags=leak", "GOARM64": "v9.0", "GOOS": "linux", "GOARCH": "mips"} {
		t.Setenv(key, value)
	}
	b, err := s.Compile(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(b.Agent)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Machine != elf.EM_AARCH64 {
		t.Errorf("the agent is for %v", f.Machine)
	}
	checker, err := s.Checker(t.Context(), t.TempDir())
	if _, ran := (call{}).run(t.Context(), checker); err != nil || ran != nil {
		t.Errorf("what checks configurations: %v, %v", err, ran)
	}
}

func TestFindRoot(t *testing.T) {
	if root, err := FindRoot("."); err != nil || filepath.Join(root, "firmware", "image") != mustWd(t) {
		t.Errorf("%s, %v", root, err)
	}
	if _, err := FindRoot(t.TempDir()); err == nil || !strings.Contains(err.Error(), "source tree") {
		t.Error(err)
	}
}

func mustWd(t *testing.T) string {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return wd
}

func TestModuleDirs(t *testing.T) {
	dirs, err := moduleDirs([]byte("{\"Path\":\"a\",\"Dir\":\"/a\"}\n{\"Path\":\"b\",\"Dir\":\"/b\"}\n"))
	if err != nil || dirs["a"] != "/a" || dirs["b"] != "/b" {
		t.Errorf("%v, %v", dirs, err)
	}
	if _, err := moduleDirs([]byte(`{"Path":"a","Error":"not to be had"}`)); err == nil || !strings.Contains(err.Error(), "a: not to be had") {
		t.Error(err)
	}
	if _, err := moduleDirs([]byte(`{"Path":`)); err == nil {
		t.Error("half an answer was taken")
	}
}

func TestAMissingToolIsNamed(t *testing.T) {
	t.Setenv("PATH", "")
	packages["mcistern"] = "cistern-tools"
	defer delete(packages, "mcistern")
	_, err := call{}.run(t.Context(), "mcistern")
	if !errors.Is(err, ErrNoTool) || !strings.Contains(err.Error(), "apt-get install cistern-tools") {
		t.Error(err)
	}
}

func TestFsckIsForTheBoard(t *testing.T) {
	if err := checkFsck(os.Args[0]); err == nil || !strings.Contains(err.Error(), "64-bit boards") && !strings.Contains(err.Error(), "e2fsck") {
		t.Errorf("this test's own program: %v", err)
	}
	text := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := checkFsck(text); err == nil {
		t.Error("a script was taken")
	}
}
