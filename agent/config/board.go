package config

import (
	"time"

	"cistern/firmware/board"
)

// Board is what is used of the board beside processor and network. Its default
// is nothing: no line is touched that is not named.
type Board struct {
	LookEvery       time.Duration // at temperature, supply and cards
	Watchdog        string        // device; "" is none
	WatchdogTimeout time.Duration
	PowerFail       PowerFail
	Button          Button
	LED             LED
}

// PowerFail is the line that tells that the power is going; without a chip there
// is none.
type PowerFail struct {
	board.PowerFail
	OffAfter time.Duration // without power, once nothing can be lost; of images
}

// Button is the line of a button; without a chip there is none.
type Button struct{ board.Button }

// LED is the status LED, by name or by line; without either there is none.
type LED struct {
	Name string
	Line board.Line
}

func defaultBoard() Board {
	return Board{
		LookEvery:       time.Minute,
		WatchdogTimeout: 15 * time.Second,
		PowerFail:       PowerFail{board.PowerFail{Line: board.Line{ActiveLow: true}, Settle: board.SettleDefault}, 5 * time.Second},
		Button:          Button{board.Button{Line: board.Line{ActiveLow: true, Pull: board.PullUp}, Hold: board.HoldDefault}},
	}
}

// Wiring is the part of it that package board drives; of its zero value nothing
// is opened.
func (b *Board) Wiring() board.Config {
	var w board.Config
	if b.PowerFail.Chip != "" {
		p := b.PowerFail.PowerFail
		w.PowerFail = &p
	}
	if b.Button.Chip != "" {
		p := b.Button.Button
		w.Button = &p
	}
	if b.LED.Name != "" || b.LED.Line.Chip != "" {
		w.LED = &board.LED{Name: b.LED.Name}
		if b.LED.Line.Chip != "" {
			l := b.LED.Line
			w.LED.Line = &l
		}
	}
	return w
}
