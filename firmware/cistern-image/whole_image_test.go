//go:build image

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cistern/firmware/image"
	"cistern/firmware/slot"
)

// From nothing to a card with a gateway's own name, as an operator does it.
func TestFromNothingToACard(t *testing.T) {
	dir := t.TempDir()
	site, img := filepath.Join(dir, "plant-7"), filepath.Join(dir, "x.img")
	run := func(args ...string) string {
		t.Helper()
		out, err := said(t, "", args...)
		if err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		return out
	}
	run("new", site)
	fails(t, "has files in it", "new", site)
	out := run("build", "--board", "qemu", "--config", filepath.Join(site, "cistern.toml"), "--out", img, "--version", "v1.0.0")
	for _, want := range []string{"version v1.0.0, board qemu", "configuration: cistern.toml, gateway.toml, site.key, users"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	licences(t, img)
	own := filepath.Join(dir, "hall-1.toml")
	write(t, own, "[machine]\nhostname = \"hall-1\"\n")
	wrong := filepath.Join(dir, "wrong.toml")
	write(t, wrong, "[machine]\nhostnam = \"hall-1\"\n")

	card := filepath.Join(dir, "card")
	fails(t, "hostnam", "flash", img, card, "--to-file", "--gateway", wrong)
	run("flash", img, card, "--to-file", "--gateway", own)
	if out = run("show", card); !strings.Contains(out, "boots      slot a") || !strings.Contains(out, "slot b     version v1.0.0") {
		t.Error(out)
	}
	has(t, card, "hall-1")
	has(t, img, "# hostname") // one image for all: it is as it was

	fails(t, "hostnam", "gateway", img, wrong)
	has(t, img, "# hostname")
	run("gateway", img, own)
	has(t, img, "hall-1")

	update := filepath.Join(dir, "x.update")
	run("update", "--board", "qemu", "--key", filepath.Join(site, "update.key"), "--out", update, "--version", "v1.0.0") // the same: it need not be linked again
	if out = run("show", update, "--key", filepath.Join(site, "update.pub")); !strings.Contains(out, "v1.0.0") || !strings.Contains(out, "good") {
		t.Error(out)
	}
}

func TestFlashToAFile(t *testing.T) {
	card, to := emptyCard(t), filepath.Join(t.TempDir(), "copy")
	out, err := said(t, "", "flash", card, to, "--to-file")
	if err != nil || !strings.Contains(out, "written and read back: 536.9 MB, sha256") {
		t.Fatalf("%s, %v", out, err)
	}
	if st, err := os.Stat(to); err != nil || st.Size() != slot.ImageBytes {
		t.Errorf("%v, %v", st, err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// has looks into a card's gateway.toml.
func has(t *testing.T, card, want string) {
	t.Helper()
	f, err := os.Open(card)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	if err := image.Extract(f, dir); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, image.GatewayFile)); err != nil || !strings.Contains(string(b), want) {
		t.Errorf("%s: gateway.toml is %q, %v", card, b, err)
	}
}

// A loop device stands for a card: it is refused until it is named twice, it
// is not written to when the wrong name is typed, and then it is.
func TestFlashADevice(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a loop device needs root")
	}
	disk := filepath.Join(t.TempDir(), "disk")
	write(t, disk, "")
	if err := os.Truncate(disk, slot.ImageBytes+1<<20); err != nil {
		t.Fatal(err)
	}
	b, err := exec.Command("losetup", "--find", "--show", disk).CombinedOutput()
	if err != nil {
		t.Skipf("no loop devices here: %v: %s", err, b)
	}
	dev := strings.TrimSpace(string(b))
	t.Cleanup(func() {
		if b, err := exec.Command("losetup", "--detach", dev).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach %s: %v: %s", dev, err, b)
		}
	})
	card := emptyCard(t)
	fails(t, "if you are sure: --force-device "+dev, "flash", card, dev, "--yes")
	fails(t, "--force-device names /dev/sdx", "flash", card, dev, "--yes", "--force-device", "/dev/sdx")
	fails(t, "nothing was written", "flash", card, dev, "--force-device", dev)
	if f, err := os.Open(dev); err != nil {
		t.Fatal(err)
	} else if _, err := slot.ReadTable(f); err == nil {
		t.Error("a refused flash has written something")
	} else {
		f.Close()
	}
	out, err := said(t, filepath.Base(dev)+"\n", "flash", card, dev, "--force-device", dev)
	if err != nil || !strings.Contains(out, "written and read back") {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err = said(t, "no\n", "flash", card, dev, "--force-device", dev); err == nil || !strings.Contains(out, "is a gateway's card") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err = said(t, "", "show", dev); err != nil || !strings.Contains(out, "data       268.4 MB") {
		t.Errorf("%v\n%s", err, out)
	}
}

// licences holds that an image brings the terms of what is linked into its programs.
func licences(t *testing.T, img string) {
	t.Helper()
	d, err := slot.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	system, err := slot.OpenFAT(slot.A.On(d))
	if err != nil {
		t.Fatal(err)
	}
	text, err := system.ReadFile(image.LicencesFile, 1<<20)
	for _, want := range []string{"cistern v1.0.0 is under Apache-2.0", "\nstd 1.", "hashicorp/raft ", "(MPL-2.0)"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the licences of the image don't have %q: %v", want, err)
		}
	}
}
