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
	"time"

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
		if !ours(t, backing(dev)) {
			return // it was let go, and somebody else has it by now
		}
		if out, err := exec.Command("losetup", "--detach", dev).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach %s: %v: %s", dev, err, out)
		}
	})
	return dev
}

// backing is the file that a loop device shows; empty when it shows none.
func backing(dev string) string {
	text, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(dev), "loop/backing_file"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// ours tells whether a file is of this test.
func ours(t *testing.T, file string) bool {
	return strings.HasPrefix(file, filepath.Dir(t.TempDir())+"/")
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
	const tries = 5
	for range tries {
		if exchanged(t) {
			return
		}
	}
	t.Fatalf("%d times somebody else took the loop device that was let go", tries)
}

// exchanged tells whether a device could be exchanged for another of its name: one
// that is let go is anybody's.
func exchanged(t *testing.T) bool {
	t.Helper()
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
	if !attach(t, dev, path) {
		return false
	}
	if f, err := Open(dev, seen); !errors.Is(err, ErrChanged) {
		t.Errorf("the next one of its name was opened: %v, %v", f, err)
	}
	return true
}

// busyMax is for those who look at every disk of a machine for a moment: the kernel
// detaches a device when the last of them has closed it.
const busyMax = 2 * time.Second

// attach puts a file behind a loop device that was detached. It tells whether the
// device was still to be had.
func attach(t *testing.T, dev, path string) bool {
	t.Helper()
	for deadline := time.Now().Add(busyMax); ; time.Sleep(20 * time.Millisecond) {
		out, err := exec.Command("losetup", dev, path).CombinedOutput()
		if err == nil {
			return true
		}
		if file := backing(dev); file != "" && !ours(t, file) {
			return false
		}
		if time.Now().After(deadline) {
			t.Fatalf("losetup %s: %v: %s", dev, err, out)
		}
	}
}
