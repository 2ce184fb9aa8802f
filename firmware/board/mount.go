package board

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// mount is a line of /proc/self/mountinfo.
type mount struct {
	number string // of its device: "179:4"
	point  string
	kind   string // ext4
	source string // /dev/mmcblk0p4
}

// mountOf finds the mount that a folder lies in: the longest point above it, and
// the last of those, which covers the ones before.
func mountOf(root, folder string) (mount, error) {
	if !filepath.IsAbs(folder) {
		return mount{}, fmt.Errorf("%s: is no absolute path", folder)
	}
	folder = filepath.Clean(folder)
	table := in(root, "proc/self/mountinfo")
	b, err := content(table, TableBytesMax)
	if err != nil {
		return mount{}, err
	}
	var best mount
	for line := range strings.Lines(string(b)) {
		m, ok := parseMount(line)
		if ok && below(folder, m.point) && len(m.point) >= len(best.point) {
			best = m
		}
	}
	if best.point == "" {
		return mount{}, fmt.Errorf("%s: no mount in it has %s", table, folder)
	}
	return best, nil
}

func below(folder, point string) bool {
	return point == "/" || folder == point || strings.HasPrefix(folder, point+"/")
}

// parseMount reads a line: id parent major:minor root point options [tags] - kind source options.
func parseMount(line string) (mount, bool) {
	left, right, ok := strings.Cut(line, " - ")
	before, after := strings.Fields(left), strings.Fields(right)
	if !ok || len(before) < 6 || len(after) < 2 {
		return mount{}, false
	}
	return mount{before[2], unescape(before[4]), after[0], unescape(after[1])}, strings.HasPrefix(before[4], "/")
}

// unescape turns \040 and the like back.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
