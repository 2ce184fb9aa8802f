package rig

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Disk is a small ext4 of its own on a loop device, backed by RAM: it can fill
// up, turn read-only, and its device counts what really reaches it, the file
// system's journal included.
type Disk struct {
	Dir     string // where it is mounted
	device  string // /dev/loopN
	backing string
}

// NewDisk makes and mounts a disk. It needs root, mkfs.ext4 and loop devices;
// the error says what is missing.
func NewDisk(size int64) (*Disk, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("a loop-mounted disk needs root; this is user %d", os.Geteuid())
	}
	backing, err := os.CreateTemp(ramDir(), "cistern-disk-*")
	if err != nil {
		return nil, err
	}
	defer backing.Close()
	d := &Disk{backing: backing.Name()}
	if err := d.make(backing, size); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *Disk) make(backing *os.File, size int64) error {
	if err := backing.Truncate(size); err != nil {
		return err
	}
	// Not discarding: mkfs would punch holes into the backing file, whose
	// filling is then part of what is measured. Not lazy: the kernel would
	// finish the file system in the background, in our counters.
	if _, err := command("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", d.backing); err != nil {
		return err
	}
	device, err := command("losetup", "--find", "--show", d.backing)
	if err != nil {
		return err
	}
	d.device = strings.TrimSpace(device)
	dir, err := os.MkdirTemp("", "cistern-mnt-")
	if err != nil {
		return err
	}
	d.Dir = dir
	_, err = command("mount", "-t", "ext4", "-o", "noatime,nodiscard", d.device, d.Dir)
	return err
}

// ramDir is a folder in RAM, so that the machine's own disk is not measured.
func ramDir() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// Remount changes mount options, like "ro" and "rw".
func (d *Disk) Remount(option string) error {
	_, err := command("mount", "-o", "remount,"+option, d.Dir)
	return err
}

// DropCaches makes the next reads come from the device.
func (d *Disk) DropCaches() error {
	syscall.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

// Close unmounts the disk and removes every trace of it.
func (d *Disk) Close() {
	if d.Dir != "" {
		_ = syscall.Unmount(d.Dir, syscall.MNT_DETACH)
		_ = os.Remove(d.Dir)
	}
	if d.device != "" {
		_, _ = command("losetup", "--detach", d.device)
	}
	_ = os.Remove(d.backing)
}

// Counters is what has reached a block device so far.
type Counters struct {
	BytesRead, Writes, BytesWritten, Flushes int64
}

// Minus returns what has reached the device since before.
func (c Counters) Minus(before Counters) Counters {
	return Counters{
		c.BytesRead - before.BytesRead, c.Writes - before.Writes,
		c.BytesWritten - before.BytesWritten, c.Flushes - before.Flushes,
	}
}

// Counters reads the statistics of the disk's device.
func (d *Disk) Counters() (Counters, error) { return DeviceCounters(d.Device()) }

// Device is the name of the disk's device, like "loop0".
func (d *Disk) Device() string { return filepath.Base(d.device) }

// DeviceCounters reads a block device's own statistics. /proc/self/io would be
// wrong: it counts whole folios of the page cache and none of the file
// system's journal.
func DeviceCounters(device string) (Counters, error) {
	const sector = 512
	name := filepath.Join("/sys/block", device, "stat")
	text, err := os.ReadFile(name)
	if err != nil {
		return Counters{}, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 17 {
		return Counters{}, fmt.Errorf("%s has %d fields; flushes are in the 16th, since Linux 5.5", name, len(fields))
	}
	var n [17]int64
	for i := range n {
		if n[i], err = strconv.ParseInt(fields[i], 10, 64); err != nil {
			return Counters{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	return Counters{BytesRead: n[2] * sector, Writes: n[4], BytesWritten: n[6] * sector, Flushes: n[15]}, nil
}

// Abort makes the file system read-only at once, under open files, as ext4 does
// by itself after an I/O error.
func (d *Disk) Abort() error {
	_, err := command("mount", "-o", "remount,abort", d.Dir)
	return err
}

// Reattach unmounts, repairs and mounts again, which is what ends an abort.
// Nobody may have files open.
func (d *Disk) Reattach() error {
	if err := d.unmount(); err != nil {
		return fmt.Errorf("unmounting %s: %w", d.Dir, err)
	}
	if _, err := command("fsck.ext4", "-p", d.device); err != nil {
		var exit *exec.ExitError // 1: errors were found and corrected
		if !errors.As(err, &exit) || exit.ExitCode() > 1 {
			return err
		}
	}
	_, err := command("mount", "-t", "ext4", "-o", "noatime,nodiscard", d.device, d.Dir)
	return err
}

// busyMax is for those who look at every disk of a machine for a moment.
const busyMax = 2 * time.Second

func (d *Disk) unmount() error {
	for deadline := time.Now().Add(busyMax); ; time.Sleep(20 * time.Millisecond) {
		if err := syscall.Unmount(d.Dir, 0); !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return err
		}
	}
}
