package main

import (
	"strings"
	"testing"
	"time"

	"cistern/agent/status"
	"cistern/firmware/board"
)

func TestStatusOfTheBoard(t *testing.T) {
	disk := status.Disk{Disk: board.Disk{Device: "mmcblk0", Kind: board.KindEMMC, Manufacturer: "Samsung", Name: "BJTD4R", Date: "2024-03", Bytes: 32 << 30, CID: "15", LifeA: 20, LifeB: 10}, WrittenEver: 3 << 30}
	lately := disk
	lately.Lately = &status.Lately{Seconds: 25 * 3600, Bytes: 5 << 30, Journal: 4 << 30}
	other := status.Disk{Disk: board.Disk{Device: "sda", Kind: board.KindOther}}
	for name, test := range map[string]struct {
		b    *status.Board
		want string
	}{
		"not looked yet":   {nil, ""},
		"nothing is known": {&status.Board{Disks: []status.Disk{disk}}, ""},
		"all":              {&status.Board{Model: "Raspberry Pi CM4", Temperatures: []board.Temperature{{Celsius: 48.2}, {Celsius: 51}}, Disks: []status.Disk{other, disk}, DataOn: "mmcblk0", PowerFail: &status.PowerFail{At: time.Now().Add(-3 * time.Hour), Clean: true, CleanSeconds: 0.031}}, "board    Raspberry Pi CM4, 51 °C, power failed 3 h 0 min ago, clean after 31 ms\ncard     mmcblk0 eMMC Samsung BJTD4R 2024-03, 32 GiB, 3.0 GiB written to it as far as counted here, up to 20 % of its life used\n"},
		"a day of it":      {&status.Board{Disks: []status.Disk{lately}, DataOn: "mmcblk0"}, "card     mmcblk0 eMMC Samsung BJTD4R 2024-03, 32 GiB, 3.0 GiB written to it as far as counted here, 5.0 GiB in the last 1 d 1 h of running (4.0 GiB by the journal), up to 20 % of its life used\n"},
		"not in time":      {&status.Board{PowerFail: &status.PowerFail{At: time.Now().Add(-90 * time.Second)}}, "board    power failed 1 min ago, and the gateway was not clean in time\n"},
		"a disk":           {&status.Board{Disks: []status.Disk{other}, DataOn: "sda"}, "card     sda, 0 B\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var lines pairs
			boardLines(&lines, test.b)
			var b strings.Builder
			lines.write(&b, paint{})
			if b.String() != test.want {
				t.Errorf("\n got %q\nwant %q", b.String(), test.want)
			}
		})
	}
}
