package card

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cistern/firmware/slot"
)

// ErrNone is returned while no disk is a card of ours.
var ErrNone = errors.New("no disk with Cistern's partitions")

// prefixes of disks' names, the likeliest first: a card in the board's own slot,
// the emulator's, an NVMe, then whatever hangs at USB.
var prefixes = []string{"mmcblk", "vd", "nvme", "sd"}

// Disks lists the whole disks in /sys/class/block below root, the likeliest
// first.
func Disks(root string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(root, "sys/class/block"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		_, partition := os.Stat(filepath.Join(root, "sys/class/block", e.Name(), "partition"))
		// mmcblk0boot0 is a part of an eMMC that firmware may boot from.
		if partition != nil && rank(e.Name()) < len(prefixes) && !strings.Contains(e.Name(), "boot") && !strings.Contains(e.Name(), "rpmb") {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return names, nil
}

func rank(name string) int {
	for i, p := range prefixes {
		if strings.HasPrefix(name, p) {
			return i
		}
	}
	return len(prefixes)
}

// Find returns the device of the first disk that has our partitions, and of
// others that have them too.
func Find(root string) (device string, others []string, err error) {
	names, err := Disks(root)
	if err != nil {
		return "", nil, err
	}
	var seen []string
	for _, name := range names {
		path := filepath.Join(root, "dev", name)
		if err := isOurs(path); err != nil {
			seen = append(seen, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		if device == "" {
			device = path
		} else {
			others = append(others, path)
		}
	}
	switch {
	case device != "":
		return device, others, nil
	case len(seen) == 0:
		return "", nil, fmt.Errorf("%w: there is no disk at all", ErrNone)
	}
	return "", nil, fmt.Errorf("%w: %s", ErrNone, strings.Join(seen, "; "))
}

func isOurs(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = slot.ReadTable(f)
	return err
}

// Partition is the name of a disk's partition: mmcblk0p4, sda4.
func Partition(disk string, n int) string {
	if last := disk[len(disk)-1]; last >= '0' && last <= '9' {
		return fmt.Sprintf("%sp%d", disk, n)
	}
	return fmt.Sprintf("%s%d", disk, n)
}
