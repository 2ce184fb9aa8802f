package vm

import (
	"bufio"
	"encoding/json"
	"io"
)

// greeting is what a client of QMP, the emulator's monitor, has to begin with.
const greeting = `{"execute":"qmp_capabilities"}` + "\n"

// qmpLineMax bounds one message of the emulator.
const qmpLineMax = 1 << 20

// event is a message of the emulator about the machine, as far as we read it.
type event struct {
	Event string `json:"event"`
	Data  struct {
		Reason string `json:"reason"`
	} `json:"data"`
}

// follow reads what the emulator says until it ends, and tells how the machine
// came to its end.
func follow(r io.Reader, note func(End)) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, qmpLineMax)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // nothing we asked for
		}
		if end := e.end(); end != "" {
			note(end)
		}
	}
	_, _ = io.Copy(io.Discard, r) // after a line that is too long: the emulator must not block
}

func (e event) end() End {
	switch e.Event {
	case "WATCHDOG":
		return Watchdog
	case "GUEST_PANICKED":
		return Panicked
	case "SHUTDOWN":
		switch e.Data.Reason {
		case "guest-reset":
			return Reset
		case "guest-shutdown":
			return PowerOff
		case "guest-panic":
			return Panicked
		}
	}
	return ""
}
