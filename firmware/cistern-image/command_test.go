package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cistern/firmware/image"
	"cistern/firmware/slot"
)

// said runs a command line and gives what it printed.
func said(t *testing.T, in string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := newRoot(streams{strings.NewReader(in), &out, &out}, args).ExecuteContext(t.Context())
	return out.String(), err
}

func fails(t *testing.T, want string, args ...string) {
	t.Helper()
	out, err := said(t, "", args...)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%q: %v, not %q; printed %q", args, err, want, out)
	}
}

// emptyCard is an image with a table and nothing else.
func emptyCard(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "card.img")
	table := slot.Layout(1).Encode()
	if err := errors.Join(os.WriteFile(path, table[:], 0o644), os.Truncate(path, slot.ImageBytes)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEveryCommandHasHelp(t *testing.T) {
	for _, c := range newRoot(streams{}, nil).Commands() {
		if !strings.Contains(c.Long, "$ ") && c.Name() != "help" {
			t.Errorf("%s: no example", c.Name())
		}
		if _, err := said(t, "", c.Name(), "--help"); err != nil {
			t.Errorf("%s: %v", c.Name(), err)
		}
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, bytes.Repeat([]byte("text\n"), 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	cut := emptyCard(t)
	if err := os.Truncate(cut, slot.ImageBytes-1); err != nil {
		t.Fatal(err)
	}
	card := emptyCard(t)
	fails(t, "which device?", "flash", card, "")
	fails(t, "not a card of Cistern", "flash", text, filepath.Join(dir, "new"), "--to-file")
	fails(t, "not copied to its end", "flash", cut, filepath.Join(dir, "new"), "--to-file")
	fails(t, "is a regular file, not a card", "flash", card, text)
	fails(t, "no such file", "flash", card, filepath.Join(dir, "sdx"))
	fails(t, "not a block device", "flash", card, os.DevNull)
	fails(t, "no such file", "show", filepath.Join(dir, "none"))
	fails(t, "nor an update", "show", text)
	fails(t, "which key signs", "update")
	fails(t, "no such file", "update", "--key", filepath.Join(dir, "none"))
	fails(t, `board "toaster"`, "build", "--board", "toaster", "--cache", dir)
	fails(t, "must be called cistern.toml", "build", "--config", text, "--cache", dir)
	fails(t, "in Cistern's source tree", "build", "--source", dir)
	if err := image.WriteKeys(dir); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, slot.PrivateFile)
	fails(t, "never belongs on a card", "gateway", card, text, key)
	fails(t, "never belongs on a card", "gateway", card, key, "--unchecked")
	fails(t, "never belongs on a card", "flash", card, filepath.Join(dir, "keyless"), "--to-file", "--gateway", key, "--unchecked")
	fails(t, "two files gateway.toml", "gateway", card, text, filepath.Join(dir, image.GatewayFile))
	if exists(filepath.Join(dir, "new")) {
		t.Error("a refused flash has written something")
	}
	if b, err := os.ReadFile(text); err != nil || !bytes.HasPrefix(b, []byte("text\n")) {
		t.Error("a refused flash has written over a file")
	}
}

func TestKeygen(t *testing.T) {
	dir := t.TempDir()
	if out, err := said(t, "", "keygen", dir); err != nil || !strings.Contains(out, "keep it safe") {
		t.Fatalf("%s, %v", out, err)
	}
	if st, err := os.Stat(filepath.Join(dir, slot.PrivateFile)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if _, err := said(t, "", "keygen", dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	// An update whose system would not take the next one is not made.
	if err := os.Remove(filepath.Join(dir, slot.PublicFile)); err != nil {
		t.Fatal(err)
	}
	fails(t, "to take the update after this one", "update", "--key", filepath.Join(dir, slot.PrivateFile), "--cache", t.TempDir())
}

func TestShow(t *testing.T) {
	out, err := said(t, "", "show", emptyCard(t))
	if err != nil || !strings.Contains(out, "slot a     no system") || !strings.Contains(out, "data       268.4 MB") {
		t.Errorf("a card without anything: %v\n%s", err, out)
	}
	dir := t.TempDir()
	if err := image.WriteKeys(dir); err != nil {
		t.Fatal(err)
	}
	key, err := image.ReadPrivate(filepath.Join(dir, slot.PrivateFile))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "x.update")
	release := slot.Release{Version: "v7.0.1", Commit: "abc", Board: slot.BoardPi, Build: "0123"}
	if _, err := image.WriteUpdate(file, key, image.System{Release: release, Image: make([]byte, 4096)}); err != nil {
		t.Fatal(err)
	}
	out, err = said(t, "", "show", file)
	if err != nil || !strings.Contains(out, "v7.0.1") || !strings.Contains(out, "signature  not checked") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = said(t, "", "show", file, "--key", filepath.Join(dir, slot.PublicFile))
	if err != nil || !strings.Contains(out, "signature  good") {
		t.Errorf("%v\n%s", err, out)
	}
	other := t.TempDir()
	if err := image.WriteKeys(other); err != nil {
		t.Fatal(err)
	}
	if _, err = said(t, "", "show", file, "--key", filepath.Join(other, slot.PublicFile)); !errors.Is(err, slot.ErrSignature) {
		t.Errorf("another key: %v", err)
	}
}

func TestAsk(t *testing.T) {
	for typed, want := range map[string]bool{"sdb\n": true, "/dev/sdb\n": true, "sdb": true, " sdb \r\n": true, "y\n": false, "": false, "sdb1\n": false} {
		if err := ask(strings.NewReader(typed), &bytes.Buffer{}, "sdb"); (err == nil) != want {
			t.Errorf("%q: %v", typed, err)
		}
	}
}

func TestMeter(t *testing.T) {
	var out bytes.Buffer
	m := newMeter(&out)
	for done := int64(1); done <= 1000; done++ {
		m.show(slot.StepWrite, done, 1000)
	}
	m.show(slot.StepRead, 1000, 1000)
	m.end()
	if n := strings.Count(out.String(), "\n"); n != 11 || !strings.Contains(out.String(), "write: 100 %\nread back: 100 %\n") {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
	out.Reset()
	m = &meter{w: &out, terminal: true, began: time.Now()}
	m.show(slot.StepWrite, 1, 2)
	m.show(slot.StepWrite, 2, 2)
	m.end()
	if !strings.HasSuffix(out.String(), "write: 100 %\n") {
		t.Errorf("%q", out.String())
	}
}

func TestSiteName(t *testing.T) {
	for folder, want := range map[string]string{"plant-7": "plant-7", "Halle Süd": "halle-s-d", "...": "default", strings.Repeat("x", 99): strings.Repeat("x", siteNameMax)} {
		if got := siteName(folder); got != want {
			t.Errorf("%q becomes %q, not %q", folder, got, want)
		}
	}
}
