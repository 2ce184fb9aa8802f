//go:build image

package image

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"cistern/firmware/slot"
)

// options of a build with the real kernel, and programs of a few bytes.
func options(t *testing.T, board string) Options {
	root, err := FindRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := sharedDir
	b := Binaries{Agent: filepath.Join(dir, "agent"), Init: filepath.Join(dir, "init"), Licences: filepath.Join(dir, "licences")}
	for _, p := range []string{b.Agent, b.Init, b.Licences} {
		if err := os.WriteFile(p, []byte("program "+filepath.Base(p)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	source, err := FindSource(t.Context(), root, "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	return Options{Source: source, Board: board, Cache: filepath.Join(root, "build", "image"), Binaries: b, Log: func(s string) { t.Log(s) }}
}

// site makes a site's folder and reads it.
func testSite(t *testing.T) Site {
	dir := t.TempDir()
	for name, text := range map[string]string{
		ConfigFile: "# nothing\n", GatewayFile: "", "site.key": "secret\n", "tls/ca.pem": "a certificate\n", "tls/für alle.pem": "another\n",
		"old.img": "no", ".hidden": "no", piExtraFile: "dtoverlay=i2c-rtc,ds3231\n",
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteKeys(dir); err != nil {
		t.Fatal(err)
	}
	s, err := ReadSite(filepath.Join(dir, ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// card is a Pi's image.
type card struct {
	options Options
	path    string
	system  System
}

func buildCard(t *testing.T, o Options, path string) card {
	t.Helper()
	s, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := FindParts(t.Context(), o.Source.Root)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteCard(t.Context(), path, s, o.Site, parts, o.Source.Seconds); err != nil {
		t.Fatal(err)
	}
	return card{o, path, s}
}

var (
	shared    card
	sharedDir string
)

func TestMain(m *testing.M) {
	var err error
	if sharedDir, err = os.MkdirTemp("", "cistern-image-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(sharedDir)
	os.Exit(code)
}

// oneCard is the same for all tests, since one takes seconds.
func oneCard(t *testing.T) card {
	t.Helper()
	if shared.path == "" {
		o := options(t, slot.BoardPi)
		o.Site = testSite(t)
		shared = buildCard(t, o, filepath.Join(sharedDir, "card.img"))
	}
	return shared
}

// ownCard is a copy of it that a test may change.
func ownCard(t *testing.T) card {
	t.Helper()
	c := oneCard(t)
	c.path = cut(t, c.path, 0, slot.ImageBytes)
	return c
}

func sum(t *testing.T, path string) [32]byte {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

// must runs a program that has to be content.
func must(t *testing.T, name string, args ...string) string {
	path, err := need(name)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestTheSameImageTwice(t *testing.T) {
	a := oneCard(t)
	b := buildCard(t, a.options, filepath.Join(t.TempDir(), "card.img"))
	if sum(t, a.path) != sum(t, b.path) {
		t.Error("two builds from the same input differ")
	}
	if !bytes.Equal(a.system.Image, b.system.Image) || a.system.Release != b.system.Release {
		t.Error("two systems from the same input differ")
	}
	if len(a.system.Image) > slot.SlotBytes*3/4 {
		t.Error("a slot is too full to grow")
	}
}

// What the image's readers find is what was put in: mtools and e2fsck say so,
// and our own reader.
func TestWhatIsOnTheCard(t *testing.T) {
	c := oneCard(t)
	path, s := c.path, c.system
	d, err := slot.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if n, err := d.Bytes(); err != nil || n != slot.ImageBytes {
		t.Fatalf("the image has %d bytes, %v", n, err)
	}
	if _, err := slot.ReadTable(d); err != nil {
		t.Fatal(err)
	}
	if out := must(t, "sfdisk", "--verify", path); !strings.Contains(out, "No errors") {
		t.Errorf("sfdisk: %s", out)
	}
	for _, which := range []slot.Slot{slot.A, slot.B} {
		if r, err := slot.ReadRelease(which.On(d)); err != nil || r != s.Release {
			t.Errorf("slot %s: release %v, %v", which, r, err)
		}
		checkFAT(t, path, which.Start(), slot.SlotBytes)
		checkTerms(t, which.On(d))
	}
	checkFAT(t, path, slot.BootStart, slot.BootBytes)
	if which, err := slot.Default(d); err != nil || which != slot.A {
		t.Errorf("boots slot %s, %v", which, err)
	}
	if try, err := slot.Try(d); err != nil || try {
		t.Errorf("a fresh card tries something: %v, %v", try, err)
	}
	boot, err := slot.OpenFAT(slot.Section(d, slot.BootStart, slot.BootBytes))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"cistern/cistern.toml": "# nothing\n", "cistern/gateway.toml": "", "cistern/site.key": "secret\n",
		"cistern/tls/ca.pem": "a certificate\n", "cistern/tls/für alle.pem": "another\n", "config.txt": "",
	} {
		if b, err := boot.ReadFile(name, 1<<20); err != nil || string(b) != want {
			t.Errorf("%s is %q, %v", name, b, err)
		}
	}
	for _, name := range []string{"cistern/update.key", "cistern/update.pub", "cistern/old.img", "cistern/.hidden"} {
		if _, err := boot.ReadFile(name, 1<<20); err == nil {
			t.Errorf("%s is on the card", name)
		}
	}
}

// checkTerms holds that who has the slot has the terms of what is in it.
func checkTerms(t *testing.T, d slot.Disk) {
	t.Helper()
	system, err := slot.OpenFAT(d)
	if err != nil {
		t.Fatal(err)
	}
	for name, all := range map[string][]string{
		LicencesFile:       {"program licences", "e2fsck, of Debian's", "Theodore Ts'o", "Mozilla Public License Version 2.0"},
		"LICENSE.linux":    {"GNU GENERAL PUBLIC LICENSE", "Version 2, June 1991", "END OF TERMS AND CONDITIONS"},
		"LICENSE.broadcom": {"Broadcom"},
	} {
		text, err := system.ReadFile(name, 1<<20)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range all {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s has no %q", name, want)
			}
		}
	}
}

// checkFAT has fsck.fat look at a FAT of the image.
func checkFAT(t *testing.T, path string, at, bytes int64) {
	part := cut(t, path, at, bytes)
	must(t, "fsck.fat", "-n", part)
}

// cut copies a piece of a file into one of its own, and leaves holes.
func cut(t *testing.T, path string, at, n int64) string {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	part := filepath.Join(t.TempDir(), "part")
	d, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := d.Truncate(n); err != nil {
		t.Fatal(err)
	}
	if err := writeSparse(slot.NewFile(d), b); err != nil {
		t.Fatal(err)
	}
	return part
}

func TestTheInitramfs(t *testing.T) {
	c := oneCard(t)
	path, s := c.path, c.system
	d, err := slot.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	f, err := slot.OpenFAT(slot.B.On(d))
	if err != nil {
		t.Fatal(err)
	}
	packed, err := f.ReadFile(InitramfsFile, slot.SlotBytes)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, e := range readCPIO(t, b) {
		seen[e.name] = e.content
	}
	for _, want := range []string{"init", "bin/cistern", "sbin/e2fsck", rootsPath, publicPath, releasePath} {
		if seen[want] == "" {
			t.Errorf("no %s in the initramfs", want)
		}
	}
	if r, err := slot.ParseRelease([]byte(seen[releasePath])); err != nil || r != s.Release {
		t.Errorf("it says that it is %+v, %v", r, err)
	}
	command, err := f.ReadFile(CommandFile, 4096)
	if err != nil || !strings.Contains(string(command), "cistern.board="+s.Release.Board) {
		t.Errorf("command line %q, %v", command, err)
	}
}

// The file system in the image must be able to become as large as any card.
func TestTheDataGrows(t *testing.T) {
	part := cut(t, oneCard(t).path, slot.DataStart, slot.DataBytes)
	must(t, "e2fsck", "-fn", part)
	about := must(t, "dumpe2fs", "-h", part)
	for _, want := range []string{"Filesystem volume name:   " + slot.DataLabel, "metadata_csum", "Remount read-only", "16M"} {
		if !strings.Contains(about, want) {
			t.Errorf("no %q in\n%s", want, about)
		}
	}
	for _, size := range []int64{28 << 30, 256 << 30} {
		if err := os.Truncate(part, size); err != nil {
			t.Fatal(err)
		}
		must(t, "resize2fs", part)
		must(t, "e2fsck", "-fn", part)
		blocks := size / ext4BlockBytes
		if about = must(t, "dumpe2fs", "-h", part); !strings.Contains(about, "Block count:              "+strconv.FormatInt(blocks, 10)) {
			t.Errorf("grown to %d blocks, not %d:\n%s", size, blocks, about)
		}
	}
}

// An update of the system is what is in the image's slot, and fits either.
func TestAnUpdateIsTheSlot(t *testing.T) {
	c := ownCard(t)
	path, s := c.path, c.system
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "x.update")
	if _, err := WriteUpdate(file, private, s); err != nil {
		t.Fatal(err)
	}
	d, err := slot.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	before := cut(t, path, slot.B.Start(), slot.SlotBytes)
	if _, err := slot.B.On(d).WriteAt(bytes.Repeat([]byte{0xee}, 1<<20), 0); err != nil {
		t.Fatal(err)
	}
	r, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := slot.Apply(r, public, slot.BoardPi, slot.B.On(d), nil); err != nil {
		t.Fatal(err)
	}
	if sum(t, before) != sum(t, cut(t, path, slot.B.Start(), slot.SlotBytes)) {
		t.Error("the update made another slot than the image has")
	}
}

// A gateway's own file goes into an image, and in again over itself.
func TestAddToACard(t *testing.T) {
	c := ownCard(t)
	path := c.path
	for _, text := range []string{"[machine]\nhostname = \"hall-1\"\n", "[machine]\nhostname = \"hall-2\"\n"} {
		if err := AddToCard(t.Context(), path, map[string][]byte{GatewayFile: []byte(text)}, c.options.Source.Seconds); err != nil {
			t.Fatal(err)
		}
		d, err := slot.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		boot, err := slot.OpenFAT(slot.Section(d, slot.BootStart, slot.BootBytes))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := boot.ReadFile(BootFolder+"/"+GatewayFile, 4096); err != nil || string(b) != text {
			t.Errorf("%q, %v", b, err)
		}
		if _, err := slot.Default(d); err != nil {
			t.Error(err)
		}
	}
	checkFAT(t, path, slot.BootStart, slot.BootBytes)
}

// Whoever has had a card in his hands may have written any name on it.
func TestNamesOnACardStayInTheirFolder(t *testing.T) {
	c := ownCard(t)
	path := c.path
	add := map[string][]byte{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaa.toml": []byte("x")}
	if err := AddToCard(t.Context(), path, add, c.options.Source.Seconds); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if names, err := BootNames(f); err != nil || len(names) != len(c.options.Site.Names())+1 {
		t.Fatalf("%q, %v", names, err)
	}
	b := make([]byte, slot.BootBytes)
	if _, err := f.ReadAt(b, slot.BootStart); err != nil {
		t.Fatal(err)
	}
	wide := func(s string) []byte { return []byte(strings.Join(strings.Split(s, ""), "\x00") + "\x00") }
	at := bytes.Index(b, wide("aaaaa"))
	if at < 0 {
		t.Fatal("the name is not where it was looked for")
	}
	if _, err := f.WriteAt(wide("../.."), slot.BootStart+int64(at)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := Extract(f, dir); err == nil || !strings.Contains(err.Error(), "is called") {
		t.Errorf("extracted: %v", err)
	}
}
