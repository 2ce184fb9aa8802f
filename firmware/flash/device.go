package flash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Kind is how a device is attached, as far as it matters here.
type Kind string

const (
	SD    Kind = "SD card"
	EMMC  Kind = "eMMC"
	USB   Kind = "USB"
	Loop  Kind = "loop device"
	Other Kind = "disk"
)

// Device is what the system knows about a block device.
type Device struct {
	Name      string // sdb
	Number    string // 8:16
	Seq       string // counts what was plugged in since the system started; empty before Linux 5.15
	Model     string
	Kind      Kind
	Bytes     int64
	Removable bool
	ReadOnly  bool
	// Disk is the name of the disk that this is a partition of; else empty.
	Disk  string
	Parts []Part
	// Uses says what on it is in use, and how.
	Uses []string
}

// Part is a partition of a device.
type Part struct {
	Name, Number  string
	Bytes         int64
	Label, Format string // as udev has noted, else empty
}

// ErrNoDevice is found in the error of who looks at something that is no block
// device.
var ErrNoDevice = errors.New("not a block device that the system knows")

// Look reads what the system below root ("/") knows about a block device.
func Look(root, name string) (Device, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(root, "sys/class/block", name))
	if err != nil {
		return Device{}, fmt.Errorf("%s: %w: %w", name, ErrNoDevice, err)
	}
	d := Device{Name: name, Number: text(dir, "dev"), Seq: text(dir, "diskseq"), Model: model(dir), Kind: kind(dir, name)}
	d.Removable, d.ReadOnly = text(dir, "removable") == "1", text(dir, "ro") == "1"
	if d.Bytes, err = size(dir); err != nil {
		return Device{}, fmt.Errorf("%s: its size: %w", name, err)
	}
	if text(dir, "partition") != "" {
		d.Disk = filepath.Base(filepath.Dir(dir))
		return d, nil
	}
	if d.Parts, err = parts(root, dir); err != nil {
		return Device{}, fmt.Errorf("%s: its partitions: %w", name, err)
	}
	d.Uses, err = uses(root, dir, d)
	return d, err
}

// text is a file's first line; what is not there is empty.
func text(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}

// size is given in sectors of 512 bytes, whatever the device's own are.
func size(dir string) (int64, error) {
	n, err := strconv.ParseInt(text(dir, "size"), 10, 54)
	return n * 512, err
}

func model(dir string) string {
	for _, names := range [][]string{{"device/vendor", "device/model"}, {"device/name"}, {"loop/backing_file"}} {
		var words []string
		for _, n := range names {
			if w := text(dir, n); w != "" {
				words = append(words, w)
			}
		}
		if len(words) > 0 {
			return strings.Join(words, " ")
		}
	}
	return ""
}

func kind(dir, name string) Kind {
	switch {
	case strings.HasPrefix(name, "loop"):
		return Loop
	case text(dir, "device/type") == "SD":
		return SD
	case strings.Contains(dir, "/mmc_host/"):
		return EMMC
	case strings.Contains(dir, "/usb"):
		return USB
	}
	return Other
}

func parts(root, dir string) ([]Part, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []Part
	for _, e := range entries {
		sub := filepath.Join(dir, e.Name())
		if text(sub, "partition") == "" {
			continue
		}
		p := Part{Name: e.Name(), Number: text(sub, "dev")}
		if p.Bytes, err = size(sub); err != nil {
			return nil, err
		}
		p.Label, p.Format = udev(root, p.Number)
		out = append(out, p)
	}
	return out, nil
}

// udev reads what udev found on a device.
func udev(root, number string) (label, format string) {
	b, err := os.ReadFile(filepath.Join(root, "run/udev/data", "b"+number))
	if err != nil {
		return "", ""
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if v, ok := strings.CutPrefix(line, "E:ID_FS_LABEL="); ok {
			label = v
		}
		if v, ok := strings.CutPrefix(line, "E:ID_FS_TYPE="); ok {
			format = v
		}
	}
	return label, format
}

// uses finds everything of a disk that is in use: mounted, swapped to, part of
// something larger.
func uses(root, dir string, d Device) ([]string, error) {
	names := map[string]string{d.Number: d.Name}
	dirs := []string{dir}
	for _, p := range d.Parts {
		names[p.Number] = p.Name
		dirs = append(dirs, filepath.Join(dir, p.Name))
	}
	out, err := mounts(root, names)
	if err != nil {
		return nil, err
	}
	swapped, err := swaps(root, names)
	if err != nil {
		return nil, err
	}
	out = append(out, swapped...)
	for _, sub := range dirs {
		holders, err := os.ReadDir(filepath.Join(sub, "holders"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, h := range holders {
			out = append(out, fmt.Sprintf("%s is part of %s (RAID, LVM or encryption)", filepath.Base(sub), h.Name()))
		}
	}
	return out, nil
}

// mounts reads /proc/self/mountinfo: a device is recognised by its number, or
// by its name where a file system has a number of its own.
func mounts(root string, names map[string]string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("what is mounted: %w", err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		dash := slices.Index(f, "-")
		if dash < 5 || len(f) < dash+3 {
			continue
		}
		name, found := names[f[2]]
		if !found {
			name, found = byName(names, f[dash+2])
		}
		if found {
			out = append(out, fmt.Sprintf("%s is mounted at %s", name, unescape(f[4])))
		}
	}
	return out, nil
}

func swaps(root string, names map[string]string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(root, "proc/swaps"))
	if errors.Is(err, fs.ErrNotExist) { // a kernel without swap
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("what is swapped to: %w", err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if name, found := byName(names, f[0]); found {
			out = append(out, fmt.Sprintf("%s is swapped to", name))
		}
	}
	return out, nil
}

func byName(names map[string]string, path string) (string, bool) {
	name, ok := strings.CutPrefix(path, "/dev/")
	if !ok {
		return "", false
	}
	for _, n := range names {
		if n == name {
			return n, true
		}
	}
	return "", false
}

// unescape turns the \040 of /proc into spaces.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
