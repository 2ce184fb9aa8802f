package board

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// card reads what an SD card or an eMMC says of itself. The kernel read it when
// it found the card, so life_time is as old as the last boot.
func (l *looker) card(d *Disk, dir string) {
	what := "disk " + d.Device + ": "
	cid, err := register(filepath.Join(dir, "cid"))
	if err != nil {
		l.missing(what+"cid", err.Error())
	} else {
		c := decodeCID(d.Kind, cid)
		d.CID, d.Manufacturer, d.Name, d.Serial, d.Date = hex.EncodeToString(cid[:]), manufacturer(d.Kind, cid[0]), c.name, c.serial, c.date
	}
	// What the kernel makes of it knows quirks that we don't.
	if date, ok := kernelDate(optional(filepath.Join(dir, "date"))); ok {
		d.Date = date
	}
	csd, err := register(filepath.Join(dir, "csd"))
	if err != nil {
		l.missing(what+"csd", err.Error())
	} else {
		d.WriteProtected = csd[14]&(permanentProtect|temporaryProtect) != 0
	}
	if d.Kind != KindEMMC {
		l.missing(what+"life_time", "SD cards don't tell their wear; the bytes written are counted instead")
		return
	}
	if d.LifeA, d.LifeB, err = lifeTime(filepath.Join(dir, "life_time")); err != nil {
		l.missing(what+"life_time", err.Error())
	}
	if d.PreEOL, err = preEOL(filepath.Join(dir, "pre_eol_info")); err != nil {
		l.missing(what+"pre_eol_info", err.Error())
	}
}

// Bits of the CSD's byte 14, the same in all versions of SD and eMMC.
const (
	permanentProtect = 1 << 5
	temporaryProtect = 1 << 4
)

// register reads one of a card's 128-bit registers.
func register(path string) (r [16]byte, err error) {
	s, err := value(path)
	if err != nil {
		return r, err
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(r) {
		return r, fmt.Errorf("%s: %q is not a register of 16 bytes", path, short(s))
	}
	copy(r[:], b)
	return r, nil
}

// identity is what a CID says beside the manufacturer's number.
type identity struct{ name, serial, date string }

func decodeCID(kind Kind, r [16]byte) identity {
	if kind == KindSD {
		year, month := 2000+int(r[13]&0xf)<<4+int(r[14]>>4), int(r[14]&0xf)
		return identity{clean(trimmed(r[3:8])), serial(r[9:13]), date(year, month)}
	}
	// Four bits of year since 1997, which JEDEC let run over in eMMC 4.41: there
	// was no eMMC worth a gateway before 2010.
	year := 1997 + int(r[14]&0xf)
	if year < 2010 {
		year += 16
	}
	return identity{clean(trimmed(r[3:9])), serial(r[10:14]), date(year, int(r[14]>>4))}
}

func trimmed(b []byte) string { return strings.Trim(string(b), " \x00") }

func serial(b []byte) string { return "0x" + hex.EncodeToString(b) }

func date(year, month int) string {
	if month < 1 || month > 12 {
		return ""
	}
	return fmt.Sprintf("%d-%02d", year, month)
}

var monthYear = regexp.MustCompile(`^(0[1-9]|1[0-2])/(20\d\d)$`)

// kernelDate turns sysfs's 03/2024 round.
func kernelDate(s string) (string, bool) {
	m := monthYear.FindStringSubmatch(s)
	if m == nil {
		return "", false
	}
	return m[2] + "-" + m[1], true
}

// lifeTime reads "0x01 0x02": tenths of its life that are used, rounded up, of
// its two kinds of memory. 0 is "not told" and 0x0b "all, and more".
func lifeTime(path string) (a, b int, err error) {
	s, err := value(path)
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(s)
	if len(fields) != 2 {
		return 0, 0, fmt.Errorf("%s: %q is not two numbers", path, short(s))
	}
	for i, to := range []*int{&a, &b} {
		n, err := strconv.ParseUint(fields[i], 0, 8)
		if err != nil || n > 0x0b {
			return 0, 0, fmt.Errorf("%s: %q is no life time (0x00 to 0x0b)", path, short(fields[i]))
		}
		*to = int(n) * 10
	}
	if a == 0 && b == 0 {
		return 0, 0, fmt.Errorf("%s: this eMMC does not tell", path)
	}
	return a, b, nil
}

func preEOL(path string) (string, error) {
	s, err := value(path)
	if err != nil {
		return "", err
	}
	n, err := strconv.ParseUint(s, 0, 8)
	if err != nil || n > 3 {
		return "", fmt.Errorf("%s: %q is no state of spare blocks (0x00 to 0x03)", path, short(s))
	}
	if n == 0 {
		return "", errors.New(path + ": this eMMC does not tell")
	}
	return []string{PreEOLNormal, PreEOLWarning, PreEOLUrgent}[n-1], nil
}

// manufacturer names the commonest by the number in the CID. The SD Association
// publishes no list; one number is used by several, and cards are relabelled, so
// this is a hint for people and nothing more.
func manufacturer(kind Kind, id byte) string {
	known := map[byte]string{
		0x01: "Panasonic", 0x02: "Kioxia", 0x03: "SanDisk", 0x09: "ATP", 0x1b: "Samsung", 0x1d: "ADATA", 0x27: "Phison",
		0x28: "Lexar", 0x31: "Silicon Power", 0x41: "Kingston", 0x5d: "Swissbit", 0x74: "Transcend", 0x76: "Patriot", 0x82: "Sony",
		0x9e: "PNY",
	}
	if kind == KindEMMC {
		known = map[byte]string{
			0x02: "SanDisk", 0x11: "Kioxia", 0x13: "Micron", 0x15: "Samsung", 0x45: "SanDisk", 0x70: "Kingston",
			0x88: "Longsys", 0x90: "SK hynix", 0xd6: "Longsys", 0xfe: "Micron",
		}
	}
	if name := known[id]; name != "" {
		return name
	}
	return fmt.Sprintf("number 0x%02x", id)
}
