package board

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// virtual are block devices that are no hardware, or that nobody keeps data on:
// RAM disks, images, layers over other disks, an eMMC's boot areas.
var virtual = regexp.MustCompile(`^(ram|loop|zram|dm-|md|sr|fd|nbd)\d|^mmcblk\d+(boot\d+|rpmb|gp\d+)$`)

// sector is the unit of sysfs, whatever the device's own is.
const sector = 512

func (l *looker) disks() {
	all, err := names(l.in("sys/block"))
	if err != nil {
		l.missing("disk", none(err, "the kernel shows no disk"))
		return
	}
	for _, device := range all {
		if !virtual.MatchString(device) {
			l.disk(device)
		}
	}
	if len(l.Disks) == 0 {
		l.missing("disk", "the kernel shows no disk: "+l.in("sys/block")+" has none that is hardware")
	}
}

// disk reads one disk. What can't be read is missing, the rest stands.
func (l *looker) disk(device string) {
	d, dir := Disk{Device: device, Kind: KindOther}, l.in("sys/block", device)
	sectors, err := number(filepath.Join(dir, "size"), 10)
	if err != nil {
		l.missing("disk "+device, err.Error())
		return
	}
	if sectors == 0 {
		return // a drive without a medium
	}
	if d.Bytes, err = bytesOf(sectors); err != nil {
		l.missing("disk "+device+": size", err.Error())
	}
	if d.BytesWritten, err = written(filepath.Join(dir, "stat")); err != nil {
		l.missing("disk "+device+": stat", err.Error())
	}
	d.ReadOnly = optional(filepath.Join(dir, "ro")) == "1"
	inside := filepath.Join(dir, "device")
	switch kind := optional(filepath.Join(inside, "type")); {
	case kind == "SD" && strings.HasPrefix(device, "mmcblk"):
		d.Kind = KindSD
	case kind == "MMC" && strings.HasPrefix(device, "mmcblk"):
		d.Kind = KindEMMC
	}
	if d.Kind == KindOther {
		d.Name = optional(filepath.Join(inside, "model"))
		// Virtual disks have the number of their bus's vendor there.
		if vendor := optional(filepath.Join(inside, "vendor")); !strings.HasPrefix(vendor, "0x") {
			d.Name = strings.TrimSpace(vendor + " " + d.Name)
		}
		d.Serial = optional(filepath.Join(inside, "serial"))
	} else {
		l.card(&d, inside)
	}
	l.Disks = append(l.Disks, d)
}

// written is what was written to a disk since boot: the seventh number of stat.
func written(path string) (int64, error) {
	s, err := value(path)
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(s)
	if len(fields) < 11 {
		return 0, fmt.Errorf("%s: has %d numbers instead of 11 or more", path, len(fields))
	}
	sectors, err := strconv.ParseUint(fields[6], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is no number of sectors", path, short(fields[6]))
	}
	return bytesOf(sectors)
}

func bytesOf(sectors uint64) (int64, error) {
	if sectors > math.MaxInt64/sector {
		return 0, fmt.Errorf("%d sectors are more than any disk has", sectors)
	}
	return int64(sectors) * sector, nil
}

// layersMax is how many layers (encryption, volumes) may lie between a file
// system and its disk.
const layersMax = 8

// HolderOf tells on which disk a folder lies: mmcblk0. The path is absolute and
// without symbolic links in it. For a file system that lies on no one disk (in
// RAM, on the network, on several) it returns an error that says which it is.
func HolderOf(root, folder string) (string, error) {
	m, err := mountOf(root, folder)
	if err != nil {
		return "", err
	}
	device, err := deviceOf(root, m.number)
	if err != nil {
		return "", fmt.Errorf("%s lies on %s (%s), which is on no one disk: %w", folder, m.source, m.kind, err)
	}
	return wholeDisk(root, device)
}

// wholeDisk goes from a layer to what it lies on.
func wholeDisk(root, device string) (string, error) {
	for range layersMax {
		below, err := names(in(root, "sys/block", device, "slaves"))
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && len(below) == 0:
			return device, nil
		case err != nil:
			return "", err
		case len(below) > 1:
			return "", fmt.Errorf("%s lies on several disks: %s", device, strings.Join(below, ", "))
		}
		if device, err = parentOf(root, below[0]); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("%s lies on more than %d layers", device, layersMax)
}

// deviceOf finds the disk that has the device number, itself or as one of its
// partitions.
func deviceOf(root, number string) (string, error) {
	return findDisk(root, "no disk has the number "+number, func(dir, _ string) bool {
		return optional(filepath.Join(dir, "dev")) == number
	})
}

// parentOf finds the disk that is called so, or has such a partition.
func parentOf(root, name string) (string, error) {
	return findDisk(root, "no disk is or has "+name, func(_, called string) bool { return called == name })
}

func findDisk(root, otherwise string, is func(dir, name string) bool) (string, error) {
	all, err := names(in(root, "sys/block"))
	if err != nil {
		return "", err
	}
	for _, device := range all {
		dir := in(root, "sys/block", device)
		if is(dir, device) {
			return device, nil
		}
		parts, err := names(dir)
		if err != nil {
			continue // it went away meanwhile
		}
		for _, part := range parts {
			if strings.HasPrefix(part, device) && is(filepath.Join(dir, part), part) {
				return device, nil
			}
		}
	}
	return "", errors.New(otherwise)
}
