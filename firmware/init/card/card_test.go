package card

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cistern/firmware/slot"
)

func TestJudgeNeverMountsWhatIsDamaged(t *testing.T) {
	for code := -16; code < 256; code++ {
		v := Judge(code)
		if want := code >= 0 && code < 4; v.Mount != want {
			t.Errorf("exit %d: mounted %t", code, v.Mount)
		}
		if v.Said == "" || (v.Do == "") != v.Mount {
			t.Errorf("exit %d: said %q, do %q", code, v.Said, v.Do)
		}
	}
	if v := Judge(4); !strings.Contains(v.Do, "e2fsck -f") || !strings.Contains(v.Said, "damaged") {
		t.Errorf("exit 4: %+v", v)
	}
}

func TestOptionsNeverWeakenASync(t *testing.T) {
	for _, k := range []Kind{Ext4, F2FS} {
		for option := range strings.SplitSeq(Options(k), ",") {
			if slices.Contains([]string{"nobarrier", "barrier=0", "async", "data=writeback", "journal_async_commit", "fsync_mode=nobarrier"}, option) {
				t.Errorf("%s is mounted with %s", k, option)
			}
		}
	}
}

func TestIdentify(t *testing.T) {
	ext4 := make([]byte, superblockBytes)
	binary.LittleEndian.PutUint16(ext4[0x38:], 0xef53)
	copy(ext4[0x78:], slot.DataLabel)
	f2fs := make([]byte, superblockBytes)
	binary.LittleEndian.PutUint32(f2fs, 0xf2f52010)
	for i, c := range slot.DataLabel {
		f2fs[0x7c+2*i] = byte(c)
	}
	other := bytes.Clone(ext4)
	copy(other[0x78:], "rootfs\x00")
	for _, c := range []struct {
		b    []byte
		kind Kind
		err  string
	}{
		{ext4, Ext4, ""}, {f2fs, F2FS, ""}, {other, "", `label "rootfs"`}, {make([]byte, superblockBytes), "", "neither"},
	} {
		kind, err := Identify(offset{c.b, slot.DataStart + superblockAt})
		if kind != c.kind || (err == nil) != (c.err == "") || err != nil && (!errors.Is(err, ErrNoData) || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("got %q, %v, want %q", kind, err, c.kind)
		}
	}
	if _, err := Identify(offset{nil, 0}); err == nil {
		t.Error("a card that can't be read holds data")
	}
}

// offset is a card of which only a part is there.
type offset struct {
	b  []byte
	at int64
}

func (o offset) ReadAt(p []byte, off int64) (int, error) {
	if off < o.at || off-o.at+int64(len(p)) > int64(len(o.b)) {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(p, o.b[off-o.at:]), nil
}

func FuzzSuperblock(f *testing.F) {
	f.Add(make([]byte, superblockBytes))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < superblockBytes {
			return
		}
		if kind, label := superblock(b[:superblockBytes]); kind == "" && label != "" {
			t.Errorf("a label %q without a file system", label)
		}
	})
}

func TestFindTakesTheLikeliestDisk(t *testing.T) {
	root := t.TempDir()
	disk := func(name string, b []byte) {
		if err := errors.Join(
			os.MkdirAll(filepath.Join(root, "sys/class/block", name), 0o755), os.MkdirAll(filepath.Join(root, "dev"), 0o755),
			os.WriteFile(filepath.Join(root, "dev", name), b, 0o644),
		); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "sys/class/block"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Find(root); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "no disk at all") {
		t.Errorf("nothing: %v", err)
	}
	table := slot.Layout(1).Encode()
	disk("sda", make([]byte, 512))
	disk("loop0", table[:])
	disk("mmcblk0boot0", table[:])
	if _, _, err := Find(root); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "sda: ") || strings.Contains(err.Error(), "loop0") {
		t.Errorf("no card of ours: %v", err)
	}
	disk("sdb", table[:])
	disk("mmcblk0", table[:])
	disk("mmcblk0p1", table[:])
	if err := os.WriteFile(filepath.Join(root, "sys/class/block/mmcblk0p1/partition"), []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	device, others, err := Find(root)
	if err != nil || filepath.Base(device) != "mmcblk0" || len(others) != 1 || filepath.Base(others[0]) != "sdb" {
		t.Errorf("got %s, %q, %v", device, others, err)
	}
}

func TestPartition(t *testing.T) {
	for disk, want := range map[string]string{"/dev/mmcblk0": "/dev/mmcblk0p4", "/dev/vda": "/dev/vda4", "/dev/nvme0n1": "/dev/nvme0n1p4"} {
		if got := Partition(disk, 4); got != want {
			t.Errorf("%s: %s", disk, got)
		}
	}
}

func TestWanted(t *testing.T) {
	for name, want := range map[string]bool{
		"cistern.toml": true, "site.key": true, "users": true, "._users": false, ".DS_Store": false, "gateway.toml~": false, "": false, "a/b": false, "..": false,
	} {
		if wanted(name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
}
