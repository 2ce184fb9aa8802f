package status

import (
	"fmt"
	"time"

	"cistern/firmware/board"
)

// Board is what the gateway runs on, beside processor and network. What a board
// does not tell is left out.
type Board struct {
	Model        string              `json:"model,omitempty"`
	Serial       string              `json:"serial,omitempty"`
	Temperatures []board.Temperature `json:"temperatures,omitempty"`
	Supply       *board.Supply       `json:"supply,omitempty"`
	Disks        []Disk              `json:"disks"`
	DataOn       string              `json:"data_on,omitempty"`    // the disk that the data folder lies on
	Problems     []string            `json:"problems,omitempty"`   // parts that are configured and don't work
	Pattern      string              `json:"led,omitempty"`        // what the status LED shows
	PowerFail    *PowerFail          `json:"power_fail,omitempty"` // the last one; nil: none that was told in time
}

// Disk is a card, or another block device.
type Disk struct {
	board.Disk
	// WrittenEver is what was written to it as far as gateways on this data folder
	// have counted, over restarts: a new card starts a new count.
	WrittenEver int64 `json:"bytes_written_counted"`
	// Lately is what of it was written in the last day that the machine ran; nil: not
	// counted.
	Lately *Lately `json:"written_lately,omitempty"`
}

// PowerFail is a stop because the power went.
type PowerFail struct {
	At           time.Time `json:"at"` // when the line told
	Clean        bool      `json:"clean"`
	CleanSeconds float64   `json:"clean_seconds"` // until nothing was left that a cut could spoil
}

// LifeUsed is the percent of its life that the disk has used, at most; 0 is
// unknown.
func (d *Disk) LifeUsed() int { return max(d.LifeA, d.LifeB) }

// Hottest is the highest temperature, and whether there is any.
func (b *Board) Hottest() (celsius float64, known bool) {
	for _, t := range b.Temperatures {
		if !known || t.Celsius > celsius {
			celsius, known = t.Celsius, true
		}
	}
	return celsius, known
}

const (
	// lifeLow leaves months to get another card, as a rule.
	lifeLow = 80
	lifeEnd = 100
	// tooHot is where boards begin to slow down.
	tooHot = 80.0
)

// JudgeBoard sets and clears the warnings about the board.
func JudgeBoard(h *Health, b *Board) {
	if b == nil {
		return
	}
	var worn, ends []string
	for i := range b.Disks {
		d := &b.Disks[i]
		switch why, end := wear(d); {
		case end:
			ends = append(ends, d.Device+": "+why)
		case why != "":
			worn = append(worn, d.Device+": "+why)
		}
	}
	h.Update(CardFailing, len(ends) > 0, "%s", list(ends))
	h.Update(CardWorn, len(worn) > 0, "%s", list(worn))
	supply := board.Supply{}
	if b.Supply != nil {
		supply = *b.Supply
	}
	h.Update(UnderVoltage, supply.UnderVoltage, "now")
	h.Update(UnderVoltageOnce, supply.UnderVoltageOnce && !supply.UnderVoltage, "since the machine was started")
	celsius, known := b.Hottest()
	var hot []string
	if known {
		hot = append(hot, fmt.Sprintf("%.0f °C", celsius))
	}
	if supply.Throttled {
		hot = append(hot, "the processor is slowed down")
	}
	h.Update(BoardHot, known && celsius >= tooHot || supply.Throttled && !supply.UnderVoltage, "%s", list(hot))
	h.Update(BoardPart, len(b.Problems) > 0, "%s", list(b.Problems))
}

// wear says in words that a disk is near its end, or at it.
func wear(d *Disk) (why string, end bool) {
	switch life := d.LifeUsed(); {
	case d.WriteProtected:
		return "it refuses writes for good", true
	case d.PreEOL == board.PreEOLUrgent:
		return "90 % of its spare blocks are used", true
	case life > lifeEnd:
		return "it is beyond the life it was made for", true
	case d.PreEOL == board.PreEOLWarning:
		return "80 % of its spare blocks are used", false
	case life >= lifeLow:
		return fmt.Sprintf("up to %d %% of its life is used", life), false
	}
	return "", false
}

// perDisk is a metric with the labels of a disk; a negative value is unknown.
func perDisk(get func(d *Disk) float64) func(*Document, func(float64, ...string)) {
	return func(d *Document, put func(float64, ...string)) {
		if d.Board == nil {
			return
		}
		for i := range d.Board.Disks {
			disk := &d.Board.Disks[i]
			if v := get(disk); v >= 0 {
				put(v, "device", disk.Device, "id", disk.ID(), "kind", string(disk.Kind))
			}
		}
	}
}

// ofSupply is a metric that boards have which know their voltage.
func ofSupply(get func(s *board.Supply) bool) func(*Document, func(float64, ...string)) {
	return func(d *Document, put func(float64, ...string)) {
		if d.Board != nil && d.Board.Supply != nil {
			put(truth(get(d.Board.Supply)))
		}
	}
}

var boardFamilies = []metric{
	{"cistern_card_written_bytes_total", "counter", "Bytes written to the card or disk as counted by gateways on this data folder, over restarts.",
		perDisk(func(d *Disk) float64 {
			if d.ID() == "" {
				return -1
			}
			return float64(d.WrittenEver)
		})},
	{"cistern_card_boot_written_bytes", "gauge", "Bytes written to the card or disk since the machine was started.",
		perDisk(func(d *Disk) float64 { return float64(d.BytesWritten) })},
	{"cistern_card_written_per_day_bytes", "gauge", "Bytes written to the card or disk in a day, by the last day of running.", perDisk(func(d *Disk) float64 { return d.Lately.perDay() })},
	{"cistern_card_life_used_percent", "gauge", "Life an eMMC says it has used, rounded up to tens.",
		perDisk(func(d *Disk) float64 {
			if d.LifeUsed() == 0 {
				return -1
			}
			return float64(d.LifeUsed())
		})},
	{"cistern_card_pre_eol", "gauge", "Spare blocks an eMMC has used: 1 less than 80 %, 2 from 80 %, 3 from 90 %.",
		perDisk(func(d *Disk) float64 {
			level, known := map[string]float64{board.PreEOLNormal: 1, board.PreEOLWarning: 2, board.PreEOLUrgent: 3}[d.PreEOL]
			if !known {
				return -1
			}
			return level
		})},
	{"cistern_card_write_protected", "gauge", "1 when the card refuses writes for good.",
		perDisk(func(d *Disk) float64 { return truth(d.WriteProtected) })},
	{"cistern_board_temperature_celsius", "gauge", "Temperature of the board's sensors.",
		func(d *Document, put func(float64, ...string)) {
			if d.Board == nil {
				return
			}
			for _, t := range d.Board.Temperatures {
				put(t.Celsius, "zone", t.Zone, "type", t.Type)
			}
		}},
	{"cistern_board_under_voltage", "gauge", "1 while the supply voltage is too low.",
		ofSupply(func(s *board.Supply) bool { return s.UnderVoltage })},
	{"cistern_board_under_voltage_since_boot", "gauge", "1 when the supply voltage was too low since the machine was started.",
		ofSupply(func(s *board.Supply) bool { return s.UnderVoltageOnce })},
	{"cistern_board_throttled", "gauge", "1 while the processor is slowed down by heat or voltage.",
		ofSupply(func(s *board.Supply) bool { return s.Throttled })},
	{"cistern_board_problems", "gauge", "Parts of the board that are configured and don't work.",
		func(d *Document, put func(float64, ...string)) {
			if d.Board != nil {
				put(float64(len(d.Board.Problems)))
			}
		}},
	{"cistern_power_fail_clean_seconds", "gauge", "Time from the last power failure that was told until nothing was left to spoil.", ofPowerFail(func(p *PowerFail) float64 { return p.CleanSeconds })},
	{"cistern_power_fail_clean", "gauge", "1 when the last stop for a power failure was a clean one.", ofPowerFail(func(p *PowerFail) float64 { return truth(p.Clean) })},
}

func ofPowerFail(get func(p *PowerFail) float64) func(*Document, func(float64, ...string)) {
	return func(d *Document, put func(float64, ...string)) {
		if d.Board != nil && d.Board.PowerFail != nil {
			put(get(d.Board.PowerFail))
		}
	}
}
