package board

import (
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	line := Line{Chip: "pinctrl-rp1", Offset: 17}
	good := []Config{
		{},
		{PowerFail: &PowerFail{Line: line}, Button: &Button{Line: Line{Chip: "/dev/gpiochip0", Offset: OffsetMax, Pull: PullDown}}},
		{PowerFail: &PowerFail{Line: line, Settle: SettleMax}, LED: &LED{Name: "beaglebone:green:usr0"}},
		{Button: &Button{Line: line, Hold: HoldMin}, LED: &LED{Line: &Line{Chip: "pinctrl-rp1", Offset: 18}}},
	}
	for _, c := range good {
		if err := c.Check(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for want, c := range map[string]Config{
		"power fail: chip is missing":                                   {PowerFail: &PowerFail{}},
		"button: line -1":                                               {Button: &Button{Line: Line{Chip: "a", Offset: -1}}},
		"button: line 1024":                                             {Button: &Button{Line: Line{Chip: "a", Offset: OffsetMax + 1}}},
		`button: pull "sideways"`:                                       {Button: &Button{Line: Line{Chip: "a", Pull: "sideways"}}},
		"power fail: settle 3s: from 1ms to 2s":                         {PowerFail: &PowerFail{Line: line, Settle: 3 * time.Second}},
		"power fail: settle -1ns":                                       {PowerFail: &PowerFail{Line: line, Settle: -1}},
		"button: hold 1ms: from 500ms to 30s":                           {Button: &Button{Line: line, Hold: time.Millisecond}},
		"led: name is missing":                                          {LED: &LED{}},
		`led: name "../../../etc": the LED's folder`:                    {LED: &LED{Name: "../../../etc"}},
		`led: name ".."`:                                                {LED: &LED{Name: ".."}},
		"led: name has 65 bytes":                                        {LED: &LED{Name: strings.Repeat("x", NameMax+1)}},
		`led: it has both a name ("ACT") and a line 17 of pinctrl-rp1`:  {LED: &LED{Name: "ACT", Line: &line}},
		`power fail: chip "input/mice": the label or the device`:        {PowerFail: &PowerFail{Line: Line{Chip: "/dev/input/mice"}}},
		"power fail and button are both line 17 of pinctrl-rp1":         {PowerFail: &PowerFail{Line: line}, Button: &Button{Line: line}},
		"button and led are both line 17 of pinctrl-rp1: each needs":    {Button: &Button{Line: line}, LED: &LED{Line: &line}},
		"power fail: line -1: a chip's lines are numbered from 0 to 10": {PowerFail: &PowerFail{Line: Line{Chip: "a", Offset: -1}}},
	} {
		err := c.Check()
		if err == nil {
			t.Errorf("%q is no error", want)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q instead of %q", err, want)
		}
		if _, err := open(c, nil, nil); err == nil {
			t.Errorf("%q is opened", want)
		}
	}
}
