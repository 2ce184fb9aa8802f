package board

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is found on each machine stands in testdata/NAME.json.
func TestLook(t *testing.T) {
	for _, name := range []string{"pi3", "cm4", "pi5", "pc", "empty", "garbage"} {
		t.Run(name, func(t *testing.T) {
			root := machine(t, name)
			r := Look(root)
			if time.Since(r.At) > time.Minute {
				t.Errorf("it was made at %v", r.At)
			}
			r.At = time.Time{}
			b, err := json.MarshalIndent(r, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got, golden := strings.ReplaceAll(string(b), root, "")+"\n", filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("found:\n%swant:\n%s", got, want)
			}
		})
	}
}

func TestUptime(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]float64{"93784.51 360000.10\n": 93784.51, "12": 12, "": 0, "x": 0, "-3 1": 0, "NaN 1": 0, "Inf 1": 0} {
		if err := os.WriteFile(filepath.Join(root, "proc/uptime"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := uptime(root); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	if got := uptime(t.TempDir()); got != 0 {
		t.Errorf("without the file: %v", got)
	}
}

// The machine that this runs on has whatever it has; nothing of it may be a
// reason to fail.
func TestLookHere(t *testing.T) {
	r := Look("")
	if r.At.IsZero() || r.Disks == nil || r.Missing == nil {
		t.Errorf("%+v", r)
	}
	for _, d := range r.Disks {
		if d.BytesWritten < 0 || d.Bytes <= 0 {
			t.Errorf("%+v", d)
		}
	}
}

func TestHolderOf(t *testing.T) {
	for _, c := range []struct{ machine, folder, want, wrong string }{
		{"pi3", "/var/lib/cistern", "mmcblk0", ""},
		{"pi3", "/", "mmcblk0", ""},
		{"pi3", "/boot/firmware/", "mmcblk0", ""},
		{"pi3", "/boot/firmwares", "mmcblk0", ""},
		{"pi3", "/media/a stick/x", "sda", ""},
		{"pi3", "/run/cistern", "", "/run/cistern lies on tmpfs (tmpfs), which is on no one disk: no disk has the number 0:26"},
		{"pi3", "/mnt/share", "", "10.0.0.2:/share (nfs4)"},
		{"pi3", "var/lib", "", "is no absolute path"},
		{"cm4", "/data/cistern", "mmcblk0", ""},
		{"cm4", "/data/run/x", "", "tmpfs"},
		{"cm4", "/vault/x", "mmcblk0", ""},
		{"cm4", "/wide", "", "lies on several disks: sda, sdb"},
		{"pi5", "/data", "nvme0n1", ""},
		{"pi5", "/covered", "nvme0n1", ""}, // the later mount lies on the earlier
		{"pc", "/home", "sda", ""},
		{"empty", "/", "", "no such file"},
		{"garbage", "/", "", "no mount in it has /"},
	} {
		got, err := HolderOf(machine(t, c.machine), c.folder)
		switch {
		case got != c.want || (err == nil) != (c.wrong == ""):
			t.Errorf("%s %s: %q, %v", c.machine, c.folder, got, err)
		case err != nil:
			contains(t, err.Error(), c.wrong)
		}
	}
}

func TestThrottled(t *testing.T) {
	for flags, want := range map[string]Supply{
		"0":     {},
		"1":     {UnderVoltage: true},
		"4":     {Throttled: true},
		"2":     {Throttled: true},
		"10000": {UnderVoltageOnce: true},
		"40000": {ThrottledOnce: true},
		"80008": {}, // the soft limit of temperature alone costs nothing yet
	} {
		root := machine(t, "pi3")
		put(t, root, "sys/devices/platform/soc/soc:firmware/get_throttled", flags+"\n")
		s := Look(root).Supply
		if want.Source = s.Source; *s != want {
			t.Errorf("%s: %+v, want %+v", flags, *s, want)
		}
	}
}

// A layer that lies on itself must not be followed for ever.
func TestHolderOfALoop(t *testing.T) {
	root := machine(t, "empty")
	put(t, root, "proc/self/mountinfo", "1 1 254:0 / / rw - ext4 /dev/dm-0 rw\n")
	put(t, root, "sys/block/dm-0/dev", "254:0\n")
	put(t, root, "sys/block/dm-0/slaves/dm-0/dev", "254:0\n")
	_, err := HolderOf(root, "/")
	if err == nil {
		t.Fatal("no error")
	}
	contains(t, err.Error(), "more than 8 layers")
}

// Sysfs's folders are symbolic links in truth.
func TestLinks(t *testing.T) {
	root := machine(t, "pi3")
	real := filepath.Join(root, "sys/devices/mmc0")
	block := filepath.Join(root, "sys/block/mmcblk0")
	if err := os.Rename(block, real); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../devices/mmc0", block); err != nil {
		t.Fatal(err)
	}
	if d := Look(root).Disks[0]; d.Device != "mmcblk0" || d.Kind != KindSD || d.CID == "" {
		t.Errorf("%+v", d)
	}
}

func TestLimits(t *testing.T) {
	root := machine(t, "empty")
	put(t, root, "sys/class/thermal/thermal_zone0/temp", strings.Repeat("1", ValueBytesMax+1))
	put(t, root, "proc/self/mountinfo", strings.Repeat("\n", TableBytesMax+1))
	put(t, root, "proc/device-tree/model", strings.Repeat("P", TextMax+1))
	for i := range FolderNamesMax + 1 {
		put(t, root, "sys/class/leds/led"+string(rune('a'+i%26))+strings.Repeat("x", i/26)+"/brightness", "0")
	}
	if err := os.MkdirAll(filepath.Join(root, "sys/class/hwmon/hwmon0/name"), 0o755); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range Look(root).Missing {
		all = append(all, m.What+": "+m.Why)
	}
	text := strings.Join(all, "\n")
	for _, want := range []string{"temp: has more than 4096 bytes", "129 bytes: a name has at most 128", "leds: has more than 512 entries"} {
		contains(t, text, want)
	}
	_, err := HolderOf(root, "/")
	if err == nil {
		t.Fatal("no error")
	}
	contains(t, err.Error(), "has more than 1048576 bytes")
}

// FuzzLook puts anything into any file of a machine.
func FuzzLook(f *testing.F) {
	root := machine(f, "cm4")
	var files []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
	for i := range files {
		for _, s := range []string{"\xff -1 [", strings.Repeat("9 ", 20)} {
			f.Add(uint(i), []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, which uint, content []byte) {
		path := files[which%uint(len(files))]
		was, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := os.WriteFile(path, was, 0o644); err != nil {
				t.Fatal(err)
			}
		}()
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		r := Look(root)
		for _, d := range r.Disks {
			if d.Bytes < 0 || d.BytesWritten < 0 || d.LifeA < 0 || d.LifeA > 110 || d.LifeB > 110 || d.Name != clean(d.Name) {
				t.Errorf("%+v", d)
			}
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
		if holder, err := HolderOf(root, "/data/cistern"); err == nil && strings.Contains(holder, "/") {
			t.Errorf("it lies on %q", holder)
		}
	})
}
