package flash

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree makes /sys, /proc and /run below a folder.
type tree struct {
	t    *testing.T
	root string
}

func newTree(t *testing.T) *tree {
	tr := &tree{t, t.TempDir()}
	tr.write("proc/self/mountinfo", "22 1 259:2 / / rw,relatime - ext4 /dev/nvme0n1p2 rw\n")
	tr.write("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")
	return tr
}

func (tr *tree) write(name, text string) {
	tr.t.Helper()
	p := filepath.Join(tr.root, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		tr.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		tr.t.Fatal(err)
	}
}

// device adds one: where it is below /sys/devices, and its files.
func (tr *tree) device(at, number, sectors string, files map[string]string) {
	tr.t.Helper()
	dir := filepath.Join("sys/devices", at)
	tr.write(dir+"/dev", number+"\n")
	tr.write(dir+"/size", sectors+"\n")
	for name, text := range files {
		tr.write(dir+"/"+name, text+"\n")
	}
	class := filepath.Join(tr.root, "sys/class/block")
	if err := os.MkdirAll(class, 0o755); err != nil {
		tr.t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(tr.root, dir), filepath.Join(class, filepath.Base(at))); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *tree) look(name string) Device {
	tr.t.Helper()
	d, err := Look(tr.root, name)
	if err != nil {
		tr.t.Fatal(err)
	}
	return d
}

const gb32 = "62333952"

// stick adds a USB stick with a partition, and an SD card in a reader of its own.
func (tr *tree) stick() {
	at := "pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host4/target4:0:0/4:0:0:0/block/sdb"
	tr.device(at, "8:16", gb32, map[string]string{"removable": "1", "ro": "0", "device/vendor": "SanDisk ", "device/model": "Ultra"})
	tr.device(at+"/sdb1", "8:17", "62331904", map[string]string{"partition": "1"})
	tr.write("run/udev/data/b8:17", "S:disk/by-label/PHOTOS\nE:ID_FS_TYPE=vfat\nE:ID_FS_LABEL=PHOTOS\n")
}

const image512 = 512 << 20

func why(rs []Refusal) string {
	var out []string
	for _, r := range rs {
		out = append(out, r.Why)
	}
	return strings.Join(out, "; ")
}

func TestAStickMayBeWritten(t *testing.T) {
	tr := newTree(t)
	tr.stick()
	d := tr.look("sdb")
	if rs := d.Refuse(image512); len(rs) > 0 {
		t.Errorf("refused: %s", why(rs))
	}
	for _, want := range []string{"/dev/sdb  31.9 GB  USB  SanDisk Ultra", "sdb1  31.9 GB  vfat  PHOTOS"} {
		if !strings.Contains(d.Describe(), want) {
			t.Errorf("no %q in\n%s", want, d.Describe())
		}
	}
	if data := d.Data("PHOTOS"); !slices.Equal(data, []string{"sdb1"}) {
		t.Errorf("partitions with that label: %v", data)
	}
}

func TestACardInAReaderMayBeWritten(t *testing.T) {
	tr := newTree(t)
	tr.device("pci0000:00/0000:3d:00.0/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0", "179:0", gb32,
		map[string]string{"removable": "0", "ro": "0", "device/type": "SD", "device/name": "SL32G"})
	d := tr.look("mmcblk0")
	if rs := d.Refuse(image512); len(rs) > 0 || d.Kind != SD {
		t.Errorf("%s refused: %s", d.Kind, why(rs))
	}
	if !strings.Contains(d.Describe(), "no partitions") {
		t.Error(d.Describe())
	}
}

// What is in use is refused, and naming the device again does not help.
func TestWhatIsInUseIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		use  func(tr *tree)
		want string
	}{
		"mounted": {func(tr *tree) {
			tr.write("proc/self/mountinfo", "90 22 8:17 / /media/me/MY\\040PHOTOS rw shared:1 - vfat /dev/sdb1 rw\n")
		}, "sdb1 is mounted at /media/me/MY PHOTOS"},
		"mounted under another number": {func(tr *tree) {
			tr.write("proc/self/mountinfo", "90 22 0:45 / /mnt rw - btrfs /dev/sdb1 rw\n")
		}, "sdb1 is mounted at /mnt"},
		"mounted whole": {func(tr *tree) {
			tr.write("proc/self/mountinfo", "90 22 8:16 / /mnt rw - vfat /dev/sdb rw\n")
		}, "sdb is mounted at /mnt"},
		"swap": {func(tr *tree) {
			tr.write("proc/swaps", "Filename Type Size Used Priority\n/dev/sdb1 partition 100 0 -2\n")
		}, "sdb1 is swapped to"},
		"LVM": {func(tr *tree) {
			tr.write("sys/class/block/sdb1/holders/dm-0/x", "")
		}, "sdb1 is part of dm-0"},
		"write-protected": {func(tr *tree) { tr.write("sys/class/block/sdb/ro", "1\n") }, "write-protected"},
		"no card":         {func(tr *tree) { tr.write("sys/class/block/sdb/size", "0\n") }, "no card in it"},
		"too small":       {func(tr *tree) { tr.write("sys/class/block/sdb/size", "1000000\n") }, "512.0 MB, the image 536.9 MB"},
	} {
		tr := newTree(t)
		tr.stick()
		c.use(tr)
		rs := tr.look("sdb").Refuse(image512)
		if len(rs) != 1 || rs[0].Force || !strings.Contains(rs[0].Why, c.want) {
			t.Errorf("%s: %+v", name, rs)
		}
	}
}

// What does not look like a card takes its name a second time.
func TestWhatIsNoCardIsRefused(t *testing.T) {
	tr := newTree(t)
	tr.device("pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda", "8:0", gb32, map[string]string{"removable": "0"})
	tr.device("platform/emmc/mmc_host/mmc1/mmc1:0001/block/mmcblk1", "179:8", gb32, map[string]string{"removable": "0", "device/type": "MMC"})
	tr.device("pci0000:00/usb3/3-1/host5/block/sdc", "8:32", "7814037168", map[string]string{"removable": "0"})
	tr.device("virtual/block/loop3", "7:3", gb32, map[string]string{"removable": "0", "loop/backing_file": "/tmp/x"})
	for name, want := range map[string]string{
		"sda": "built in", "mmcblk1": "eMMC that is built in", "sdc": "4.0 TB, more than cards have", "loop3": "loop device",
	} {
		rs := tr.look(name).Refuse(image512)
		if len(rs) != 1 || !rs[0].Force || !strings.Contains(rs[0].Why, want) {
			t.Errorf("%s: %+v", name, rs)
		}
	}
}

// Two cards of one maker differ in nothing but when they were plugged in.
func TestACardThatWasChangedIsAnother(t *testing.T) {
	tr := newTree(t)
	tr.stick()
	tr.write("sys/class/block/sdb/diskseq", "7\n")
	seen := tr.look("sdb")
	if !seen.Same(tr.look("sdb")) {
		t.Error("it is not what it was")
	}
	for file, text := range map[string]string{"diskseq": "8\n", "size": "1000000\n", "device/model": "Extreme\n", "dev": "8:32\n"} {
		tr := newTree(t)
		tr.stick()
		tr.write("sys/class/block/sdb/diskseq", "7\n")
		tr.write("sys/class/block/sdb/"+file, text)
		if seen.Same(tr.look("sdb")) {
			t.Errorf("another %s, and still the same", file)
		}
	}
}

func TestAPartitionIsRefused(t *testing.T) {
	tr := newTree(t)
	tr.stick()
	rs := tr.look("sdb1").Refuse(image512)
	if len(rs) != 1 || rs[0].Force || !strings.Contains(rs[0].Why, "whole of /dev/sdb") {
		t.Errorf("%+v", rs)
	}
}

func TestWhatCantBeKnown(t *testing.T) {
	tr := newTree(t)
	tr.stick()
	if _, err := Look(tr.root, "sdz"); !errors.Is(err, ErrNoDevice) {
		t.Errorf("no such device: %v", err)
	}
	tr.write("sys/class/block/sdb/size", "many\n")
	if _, err := Look(tr.root, "sdb"); err == nil || !strings.Contains(err.Error(), "size") {
		t.Errorf("no size: %v", err)
	}
	// Without knowing what is mounted nothing may be written.
	tr = newTree(t)
	tr.stick()
	if err := os.Remove(filepath.Join(tr.root, "proc/self/mountinfo")); err != nil {
		t.Fatal(err)
	}
	if _, err := Look(tr.root, "sdb"); err == nil || !strings.Contains(err.Error(), "mounted") {
		t.Errorf("no mountinfo: %v", err)
	}
}

func FuzzMountinfo(f *testing.F) {
	f.Add("90 22 8:17 / /media rw shared:1 - vfat /dev/sdb1 rw\n")
	f.Add("- - - - - - -\n-")
	f.Fuzz(func(t *testing.T, s string) {
		root := t.TempDir()
		if err := os.MkdirAll(filepath.Join(root, "proc/self"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "proc/self/mountinfo"), []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := mounts(root, map[string]string{"8:17": "sdb1"}); err != nil {
			t.Error(err)
		}
	})
}
