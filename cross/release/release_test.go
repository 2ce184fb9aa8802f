package main

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cistern/cross/build"
	"cistern/firmware/image"
)

func TestChoose(t *testing.T) {
	for list, want := range map[string]string{
		"all": strings.Join(names(), " "), "none": "",
		"linux_arm64,linux_armv6,linux_arm64": "linux_arm64 linux_armv6",
	} {
		chosen, err := choose(list)
		var got []string
		for _, c := range chosen {
			got = append(got, c.name)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %v, %v", list, got, err)
		}
	}
	if _, err := choose("linux_armv5"); err == nil || !strings.Contains(err.Error(), "linux_armv6") {
		t.Errorf("a target we don't have: %v", err)
	}
}

func TestBadFlagsAreNamed(t *testing.T) {
	for want, args := range map[string][]string{
		"-targets:":    {"-targets", "windows"},
		"-prove:":      {"-prove", "windows"},
		`"now"`:        {"now"},
		`version "v1/`: {"-version", "v1/2"},
	} {
		if err := run(t.Context(), args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestCheckVersion(t *testing.T) {
	for _, good := range []string{"v1.2.3", "1.0~rc1+x", "a17af78-dirty"} {
		if err := checkVersion(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "../x", "-X", "a b", "v1\n", strings.Repeat("1", 101)} {
		if checkVersion(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

const tiny = `package main

var version, commit string

func main() { println(version, commit) }
`

// tinyBinary compiles a program that was told its version and commit.
func tinyBinary(t *testing.T) string {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(tiny), 0o644); err != nil {
		t.Fatal(err)
	}
	compile := exec.Command("go", "build", "-ldflags="+build.Linked("v1.2.3", "c0ffee"), "-o", "tiny", "main.go")
	compile.Dir = dir
	compile.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "tiny")
}

func TestCheck(t *testing.T) {
	binary := tinyBinary(t)
	good := target{name: "good", machine: elf.EM_AARCH64}
	told := image.Source{Version: "v1.2.3", Commit: "c0ffee"}
	if size, err := check(good, binary, told); err != nil || size < 100_000 {
		t.Errorf("%d bytes, %v", size, err)
	}
	for want, c := range map[string]struct {
		t target
		s image.Source
	}{
		"it is for":              {target{name: "other", machine: elf.EM_ARM}, told},
		`did not write "v1.2.4"`: {good, image.Source{Version: "v1.2.4", Commit: "c0ffee"}},
		`did not write "decaf"`:  {good, image.Source{Version: "v1.2.3", Commit: "decaf"}},
		"are promised":           {target{name: "small", machine: elf.EM_AARCH64, bytesMax: 1000}, told},
	} {
		if _, err := check(c.t, binary, c.s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := checkELF(good, []byte("#!/bin/sh\n")); err == nil {
		t.Error("a script is a binary")
	}
}

func TestADynamicBinaryIsRefused(t *testing.T) {
	for _, p := range []string{"/bin/ls", "/usr/bin/env"} {
		content, err := os.ReadFile(p)
		if err != nil {
			continue
		}
		f, err := elf.Open(p)
		if err != nil {
			continue
		}
		defer f.Close()
		if err := checkELF(target{name: "here", machine: f.Machine}, content); err == nil || !strings.Contains(err.Error(), "not static") {
			t.Errorf("%s: %v", p, err)
		}
		return
	}
	t.Skip("this machine has neither ls nor env as an ELF file")
}

func TestCopyTree(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	for _, name := range []string{"go.mod", ".git/HEAD", "build/cistern", "cross/build/doc.go"} {
		path := filepath.Join(from, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyTree(to, from); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"go.mod": true, ".git": false, "build": false, "cross/build/doc.go": true} {
		if _, err := os.Stat(filepath.Join(to, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSame(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a := file("a", "abcd")
	if err := same(a, file("b", "abcd")); err != nil {
		t.Error(err)
	}
	if err := same(a, file("c", "abxd")); err == nil || !strings.Contains(err.Error(), "byte 2") {
		t.Error(err)
	}
	if err := same(a, file("d", "abc")); err == nil || !strings.Contains(err.Error(), "4 bytes and 3") {
		t.Error(err)
	}
}
