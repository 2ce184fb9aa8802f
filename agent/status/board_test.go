package status

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"cistern/firmware/board"
)

func TestJudgeBoard(t *testing.T) {
	card := func(d board.Disk) *Board {
		d.Device = "mmcblk0"
		return &Board{Disks: []Disk{{Disk: d}}}
	}
	for name, test := range map[string]struct {
		b      *Board
		want   []Code
		detail string
	}{
		"nothing known":   {b: nil},
		"all well":        {b: &Board{Temperatures: []board.Temperature{{Celsius: 79}}, Supply: &board.Supply{}, Disks: []Disk{{Disk: board.Disk{LifeA: 70, PreEOL: board.PreEOLNormal}}}}},
		"an SD card":      {b: card(board.Disk{Kind: board.KindSD})},
		"life":            {card(board.Disk{LifeA: 10, LifeB: 80}), []Code{CardWorn}, "mmcblk0: up to 80 % of its life is used"},
		"beyond life":     {card(board.Disk{LifeA: 110}), []Code{CardFailing}, "mmcblk0: it is beyond"},
		"spare blocks":    {card(board.Disk{PreEOL: board.PreEOLWarning}), []Code{CardWorn}, "80 % of its spare blocks"},
		"no spare blocks": {card(board.Disk{PreEOL: board.PreEOLUrgent, LifeA: 80}), []Code{CardFailing}, "90 % of its spare blocks"},
		"protected":       {card(board.Disk{WriteProtected: true}), []Code{CardFailing}, "refuses writes"},
		"hot":             {&Board{Temperatures: []board.Temperature{{Celsius: 40}, {Celsius: 81.4}}}, []Code{BoardHot}, "81 °C"},
		"slowed down":     {&Board{Supply: &board.Supply{Throttled: true}}, []Code{BoardHot}, "slowed down"},
		"voltage now":     {&Board{Supply: &board.Supply{UnderVoltage: true, UnderVoltageOnce: true, Throttled: true}}, []Code{UnderVoltage}, "now"},
		"voltage once":    {&Board{Supply: &board.Supply{UnderVoltageOnce: true}}, []Code{UnderVoltageOnce}, "since"},
		"a part":          {&Board{Problems: []string{"led: no such file"}}, []Code{BoardPart}, "led: no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			var h Health
			JudgeBoard(&h, test.b)
			var got []Code
			for _, a := range h.Active() {
				got = append(got, a.Code)
				if !strings.Contains(a.Detail, test.detail) {
					t.Errorf("detail %q, want %q", a.Detail, test.detail)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if !Healthy(h.Active()) {
				t.Error("a worn card is no promise broken")
			}
			if JudgeBoard(&h, &Board{}); test.b != nil && len(h.Active()) > 0 {
				t.Errorf("not over: %v", h.Active())
			}
		})
	}
}

func TestBoardMetrics(t *testing.T) {
	var none, out bytes.Buffer
	if err := WriteMetrics(&none, &Document{}); err != nil {
		t.Fatal(err)
	}
	d := &Document{Board: &Board{
		Temperatures: []board.Temperature{{Zone: "thermal_zone0", Type: "cpu-thermal", Celsius: 48.5}},
		Supply:       &board.Supply{UnderVoltageOnce: true},
		Disks: []Disk{
			{board.Disk{Device: "mmcblk0", Kind: board.KindEMMC, CID: "150100", LifeA: 10, LifeB: 20, PreEOL: board.PreEOLNormal, BytesWritten: 512}, 4096, nil},
			{Disk: board.Disk{Device: "vda", Kind: board.KindOther}},
		},
		Problems: []string{"a"}, PowerFail: &PowerFail{Clean: true, CleanSeconds: 0.25},
	}}
	if err := WriteMetrics(&out, d); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`cistern_card_written_bytes_total{device="mmcblk0",id="cid-150100",kind="eMMC"} 4096`,
		`cistern_card_boot_written_bytes{device="mmcblk0",id="cid-150100",kind="eMMC"} 512`,
		`cistern_card_boot_written_bytes{device="vda",id="",kind="other"} 0`,
		`cistern_card_life_used_percent{device="mmcblk0",id="cid-150100",kind="eMMC"} 20`,
		`cistern_card_pre_eol{device="mmcblk0",id="cid-150100",kind="eMMC"} 1`,
		`cistern_board_temperature_celsius{zone="thermal_zone0",type="cpu-thermal"} 48.5`,
		`cistern_board_under_voltage 0`, `cistern_board_under_voltage_since_boot 1`, `cistern_board_problems 1`,
		`cistern_power_fail_clean_seconds 0.25`, `cistern_power_fail_clean 1`,
	} {
		if !strings.Contains(out.String(), "\n"+want+"\n") {
			t.Errorf("no %s", want)
		}
		if strings.Contains(none.String(), "\n"+want+"\n") {
			t.Errorf("without a board there is %s", want)
		}
	}
	for _, not := range []string{`written_bytes_total{device="vda"`, `life_used_percent{device="vda"`, `pre_eol{device="vda"`} {
		if strings.Contains(out.String(), not) {
			t.Errorf("a disk that tells nothing has %s", not)
		}
	}
}
