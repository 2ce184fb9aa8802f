package status

import (
	"bytes"
	"strings"
	"testing"

	"cistern/firmware/board"
)

func TestJudgeWear(t *testing.T) {
	const hour, budget = 3600.0, int64(8 << 30)
	for name, test := range map[string]struct {
		l      *Lately
		budget int64
		on     string
		want   string // "": no warning
	}{
		"not counted":            {nil, budget, "mmcblk0", ""},
		"at the budget":          {&Lately{24 * hour, 8 << 30, 8 << 30}, budget, "mmcblk0", ""},
		"a quarter over":         {&Lately{24 * hour, 10 << 30, 8 << 30}, budget, "mmcblk0", ""},
		"more":                   {&Lately{25 * hour, 11 << 30, 8 << 30}, budget, "mmcblk0", "mmcblk0: 11.0 GiB, 8.0 GiB of it by the journal, in the last 25 hours of running; budget 8.0 GiB a day"},
		"more in more":           {&Lately{26 * hour, 10<<30 + 1<<29, 0}, budget, "mmcblk0", ""},
		"nobody set one":         {&Lately{24 * hour, 99 << 30, 0}, 0, "mmcblk0", ""},
		"another disk":           {&Lately{24 * hour, 99 << 30, 0}, budget, "sda", ""},
		"a busy hour":            {&Lately{hour, 9 << 30, 0}, budget, "mmcblk0", ""},
		"a day's within an hour": {&Lately{hour, 11 << 30, 0}, budget, "mmcblk0", "11.0 GiB, 0.0 GiB of it by the journal, in 1 hours of running;"},
		"some hours":             {&Lately{6 * hour, 3 << 30, 1 << 30}, budget, "mmcblk0", "3.0 GiB, 1.0 GiB of it by the journal, in 6 hours of running, which makes 12.0 GiB in a day;"},
		"too few hours":          {&Lately{5 * hour, 3 << 30, 0}, budget, "mmcblk0", ""},
		"no time":                {&Lately{0, 3 << 30, 0}, budget, "mmcblk0", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var h Health
			d := &Document{Storage: Storage{DailyWriteBudget: test.budget}, Board: &Board{DataOn: test.on, Disks: []Disk{{Disk: board.Disk{Device: "mmcblk0"}, Lately: test.l}}}}
			JudgeWear(&h, d)
			active := h.Active()
			if (len(active) == 1 && active[0].Code == CardWritesHigh) != (test.want != "") {
				t.Fatalf("%+v", active)
			}
			if test.want != "" && !strings.Contains(active[0].Detail, test.want) {
				t.Errorf("%q, want %q", active[0].Detail, test.want)
			}
			d.Board.Disks[0].Lately = nil
			if JudgeWear(&h, d); len(h.Active()) > 0 {
				t.Errorf("not over: %+v", h.Active())
			}
		})
	}
	JudgeWear(nil, &Document{}) // no board was looked at
}

func TestPerDayMetric(t *testing.T) {
	var out bytes.Buffer
	d := &Document{Board: &Board{Disks: []Disk{
		{Disk: board.Disk{Device: "mmcblk0", CID: "15"}, Lately: &Lately{12 * 3600, 1000, 0}},
		{Disk: board.Disk{Device: "sda", Serial: "1"}, Lately: &Lately{3600, 1000, 0}},
	}}}
	if err := WriteMetrics(&out, d); err != nil {
		t.Fatal(err)
	}
	if want := `cistern_card_written_per_day_bytes{device="mmcblk0",id="cid-15",kind=""} 2000`; !strings.Contains(out.String(), want+"\n") {
		t.Errorf("no %s", want)
	}
	if strings.Contains(out.String(), `per_day_bytes{device="sda"`) {
		t.Error("a day is made of an hour")
	}
}
