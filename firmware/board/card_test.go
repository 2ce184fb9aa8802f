package board

import (
	"encoding/hex"
	"testing"
)

func TestDecodeCID(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		cid  string
		made string
		want identity
	}{
		{KindSD, "035344534c31364780a1b2c3d4013800", "SanDisk", identity{"SL16G", "0xa1b2c3d4", "2019-08"}},
		{KindSD, "1b534d454431533110aabbccdd017a00", "Samsung", identity{"ED1S1", "0xaabbccdd", "2023-10"}},
		{KindSD, "ff00000000000000000000000000fd00", "number 0xff", identity{"", "0x00000000", ""}}, // month 13
		{KindEMMC, "150100424a544434520642a1b2c35800", "Samsung", identity{"BJTD4R", "0x42a1b2c3", "2021-05"}},
		{KindEMMC, "700100543248474d310000000001c000", "Kingston", identity{"T2HGM1", "0x00000001", "2013-12"}},
		{KindEMMC, "450100534d31344d420000000002ce00", "SanDisk", identity{"SM14MB", "0x00000002", "2011-12"}},
		{KindEMMC, "1301004d4d4d4d4d4d00000000002d00", "Micron", identity{"MMMMMM", "0x00000000", "2010-02"}},
	} {
		b, err := hex.DecodeString(c.cid)
		if err != nil || len(b) != 16 {
			t.Fatal(c.cid, err)
		}
		var r [16]byte
		copy(r[:], b)
		if got := decodeCID(c.kind, r); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.cid, got, c.want)
		}
		if got := manufacturer(c.kind, r[0]); got != c.made {
			t.Errorf("%s: made by %q, want %q", c.cid, got, c.made)
		}
	}
}

// A card that has used itself up refuses writes, and says so in its CSD.
func TestWriteProtected(t *testing.T) {
	for csd, want := range map[string]bool{
		"400e00325b590000767b7f800a400000": false,
		"400e00325b590000767b7f800a404c00": false, // a copy, of a foreign format
		"400e00325b590000767b7f800a402000": true,  // for good
		"400e00325b590000767b7f800a401000": true,  // until it is told otherwise
	} {
		root := machine(t, "pi3")
		put(t, root, "sys/block/mmcblk0/device/csd", csd+"\n")
		if got := Look(root).Disks[0].WriteProtected; got != want {
			t.Errorf("%s: %v", csd, got)
		}
	}
}

func TestLife(t *testing.T) {
	for _, c := range []struct {
		life, eol string
		a, b      int
		pre       string
		missing   string
	}{
		{"0x01 0x01", "0x01", 10, 10, PreEOLNormal, ""},
		{"0x0b 0x0a", "0x03", 110, 100, PreEOLUrgent, ""},
		{"0x00 0x03", "0x02", 0, 30, PreEOLWarning, ""},
		{"0x01", "0x01", 0, 0, PreEOLNormal, "is not two numbers"},
		{"0x01 0x01", "", 10, 10, "", "is no state of spare blocks"},
		{"-1 0x01", "0x01", 0, 0, PreEOLNormal, "is no life time"},
	} {
		root := machine(t, "cm4")
		put(t, root, "sys/block/mmcblk0/device/life_time", c.life+"\n")
		put(t, root, "sys/block/mmcblk0/device/pre_eol_info", c.eol+"\n")
		r := Look(root)
		d := r.Disks[0]
		if d.LifeA != c.a || d.LifeB != c.b || d.PreEOL != c.pre {
			t.Errorf("%q, %q: %d, %d, %q", c.life, c.eol, d.LifeA, d.LifeB, d.PreEOL)
		}
		if c.missing != "" {
			contains(t, r.Missing[0].Why, c.missing)
		}
	}
}
