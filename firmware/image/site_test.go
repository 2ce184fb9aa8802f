package image

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cistern/firmware/slot"
)

// folderWith makes a folder with files, private ones.
func folderWith(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestWhatOfASiteGoesOntoTheCard(t *testing.T) {
	dir := folderWith(t, map[string]string{
		ConfigFile: "x", "site.key": "k", "users": "", "tls/ca.pem": "c",
		"update.key": "never", "old.img": "no", "v1.update": "no", ".git/config": "no", "cistern.toml~": "no", piExtraFile: "dtparam=x",
	})
	s, err := ReadSite(filepath.Join(dir, ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{ConfigFile, "site.key", "tls/ca.pem", "users"}; !slices.Equal(s.Names(), want) {
		t.Errorf("%q goes onto the card, not %q", s.Names(), want)
	}
	if string(s.extra) != "dtparam=x" || s.Public() != nil || !s.Configured() {
		t.Errorf("extra %q, key %v", s.extra, s.Public())
	}
}

func TestSitesThatCantBe(t *testing.T) {
	for name, c := range map[string]struct {
		files  map[string]string
		config string
		want   string
	}{
		"another name":  {map[string]string{"site.toml": ""}, "site.toml", "must be called " + ConfigFile},
		"none":          {map[string]string{"x": ""}, ConfigFile, "does not exist"},
		"no such":       {nil, "nowhere/" + ConfigFile, "no such file"},
		"bad key":       {map[string]string{ConfigFile: "", slot.PublicFile: "x"}, ConfigFile, "no key that can be read"},
		"a large file":  {map[string]string{ConfigFile: "", "disk": strings.Repeat("x", slot.ConfigBytesMax+1)}, ConfigFile, "keep other things elsewhere"},
		"many, in sum":  {map[string]string{ConfigFile: "", "a": strings.Repeat("x", slot.ConfigBytesMax/2+1), "b": strings.Repeat("x", slot.ConfigBytesMax/2+1)}, ConfigFile, "keep other things elsewhere"},
		"a name":        {map[string]string{ConfigFile: "", "a:b": ""}, ConfigFile, "does not take that name"},
		"a dot behind":  {map[string]string{ConfigFile: "", "tls./ca.pem": ""}, ConfigFile, "does not take that name"},
		"too deep":      {map[string]string{ConfigFile: "", "1/2/3/4/5/x": ""}, ConfigFile, "folders lie in each other"},
		"twice for FAT": {map[string]string{ConfigFile: "", "tls/CA.pem": "", "tls/ca.pem": ""}, ConfigFile, "large and small letters"},
		"a broken link": {map[string]string{ConfigFile: ""}, ConfigFile, "no such file"},
	} {
		dir := folderWith(t, c.files)
		if name == "a broken link" {
			if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := ReadSite(filepath.Join(dir, c.config)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Under any name: a copy of update.key is one.
func TestACopyOfTheKeyStaysHome(t *testing.T) {
	dir := folderWith(t, map[string]string{ConfigFile: ""})
	if err := WriteKeys(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSite(filepath.Join(dir, ConfigFile)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"update.key.bak", "UPDATE.KEY", "keys/plant-7"} {
		p := filepath.Join(dir, name)
		key, err := os.ReadFile(filepath.Join(dir, slot.PrivateFile))
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, append([]byte("# a copy\r\n"), key...), 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadSite(filepath.Join(dir, ConfigFile)); !errors.Is(err, ErrPrivate) {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoSite(t *testing.T) {
	s, err := ReadSite("")
	if err != nil || s.Configured() {
		t.Fatalf("%+v, %v", s, err)
	}
	out, err := bootFiles(slot.BoardQemu, s, Parts{})
	if err != nil || !strings.Contains(string(out[BootFolder+"/"+ConfigFile]), "on itself only") {
		t.Errorf("%v, %v", out.paths(), err)
	}
}

func TestKeysAreMadeOnce(t *testing.T) {
	dir := t.TempDir()
	if err := WriteKeys(dir); err != nil {
		t.Fatal(err)
	}
	key, err := ReadPrivate(filepath.Join(dir, slot.PrivateFile))
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ReadPublic(filepath.Join(dir, slot.PublicFile))
	if err != nil || !pub.Equal(key.Public()) {
		t.Errorf("%v, %v", pub, err)
	}
	if err := WriteKeys(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("made again: %v", err)
	}
	if again, err := ReadPrivate(filepath.Join(dir, slot.PrivateFile)); err != nil || !again.Equal(key) {
		t.Errorf("the key has changed: %v", err)
	}
	if err := os.Chmod(filepath.Join(dir, slot.PrivateFile), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadPrivate(filepath.Join(dir, slot.PrivateFile)); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("others may read it: %v", err)
	}
}

// A slot has what the board's firmware looks for, and a qemu's nothing of a Pi.
func TestSlotFiles(t *testing.T) {
	kernel := folderWith(t, map[string]string{"vmlinuz": "kernel", "bcm2711-rpi-4-b.dtb": "tree", "LICENSE.linux": "GPL", "overlays/i2c-rtc.dtbo": "rtc"})
	names := map[string]string{}
	for _, n := range append(piFirmware, bootcodeFile) {
		names[n] = n
	}
	p := Parts{Kernel: kernel, Firmware: folderWith(t, names)}
	pi, err := boardFiles(slot.BoardPi, p, []byte("dtoverlay=i2c-rtc,ds3231\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{KernelFile, "bcm2711-rpi-4-b.dtb", "overlays/i2c-rtc.dtbo", "start4.elf", "fixup.dat", configFile, CommandFile, "LICENSE.broadcom", "LICENSE.linux"} {
		if len(pi[want]) == 0 {
			t.Errorf("no %s for a Pi", want)
		}
	}
	config := string(pi[configFile])
	for _, want := range []string{"\nkernel=" + KernelFile, "\ninitramfs " + InitramfsFile, "\n[all]\ndtoverlay=i2c-rtc,ds3231\n"} {
		if !strings.Contains(config, want) {
			t.Errorf("no %q in config.txt:\n%s", want, config)
		}
	}
	q, err := boardFiles(slot.BoardQemu, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if q["start4.elf"] != nil || q[configFile] != nil || !strings.Contains(string(q[CommandFile]), "console=ttyAMA0") {
		t.Errorf("for qemu: %v", q.paths())
	}
	if err := os.Remove(filepath.Join(p.Firmware, "start4.elf")); err != nil {
		t.Fatal(err)
	}
	if _, err := boardFiles(slot.BoardPi, p, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without start4.elf: %v", err)
	}
}
