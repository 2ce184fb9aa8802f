//go:build image

package flash

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// loop makes a loop device of its own over a file, and takes it away again.
func loop(t *testing.T, bytes int64) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a loop device needs root")
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, bytes); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", path).CombinedOutput()
	if err != nil {
		t.Skipf("no loop devices here: %v: %s", err, out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", dev).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach %s: %v: %s", dev, err, out)
		}
	})
	return dev
}

// A real block device, with the kernel's own idea of exclusive, of caches and
// of sizes.
func TestALoopDevice(t *testing.T) {
	img := testImage()
	dev := loop(t, int64(len(img))*2)
	name, err := Find(dev)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Look("/", name)
	if err != nil {
		t.Fatal(err)
	}
	if d.Kind != Loop || d.Bytes != int64(len(img))*2 || "/dev/"+d.Name != dev {
		t.Errorf("%+v", d)
	}
	if rs := d.Refuse(int64(len(img))); len(rs) != 1 || !rs[0].Force {
		t.Errorf("%+v", rs)
	}
	to, err := Open(dev, d)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if n, err := to.Bytes(); n != d.Bytes || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := Write(t.Context(), bytes.NewReader(img), int64(len(img)), to, nothing); err != nil {
		t.Fatal(err)
	}
	// Two exclusive owners there can't be: what a mount is, too.
	if second, err := Open(dev, d); err == nil {
		second.Close()
		t.Error("opened twice")
	} else if !strings.Contains(err.Error(), "something uses it") {
		t.Error(err)
	}
}

func TestAMountedLoopDevice(t *testing.T) {
	dev := loop(t, 8<<20)
	if out, err := exec.Command("mke2fs", "-q", dev).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	at := t.TempDir()
	if err := unix.Mount(dev, at, "ext4", 0, ""); err != nil {
		t.Skipf("can't mount here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, 0); err != nil {
			t.Error(err)
		}
	})
	name, err := Find(dev)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Look("/", name)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Uses) != 1 || !strings.Contains(d.Uses[0], at) {
		t.Errorf("uses: %q", d.Uses)
	}
	if f, err := Open(dev, d); err == nil {
		f.Close()
		t.Error("a mounted device was opened")
	}
}

// A card that was pulled while its name was asked for is another disk by now.
func TestAnotherDeviceOfThatNameIsNotOpened(t *testing.T) {
	dev := loop(t, 8<<20)
	name, err := Find(dev)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := Look("/", name)
	if err != nil {
		t.Fatal(err)
	}
	if seen.Seq == "" {
		t.Error("this kernel counts no devices")
	}
	other := loop(t, 8<<20)
	if f, err := Open(other, seen); !errors.Is(err, ErrChanged) {
		t.Errorf("another one was opened: %v, %v", f, err)
	}
	if out, err := exec.Command("losetup", "--detach", dev).CombinedOutput(); err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 8<<20)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("losetup", dev, path).CombinedOutput(); err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	if f, err := Open(dev, seen); !errors.Is(err, ErrChanged) {
		t.Errorf("the next one of its name was opened: %v, %v", f, err)
	}
}
