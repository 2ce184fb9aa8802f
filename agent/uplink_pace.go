package agent

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"cistern/bridge/drain/pace"
)

// paceKey is where the gate's memory is, in the store's State: it is of this
// gateway and its modem, also on a site.
const paceKey = "uplink/pace"

// paceMemory keeps what the gate counts over restarts.
type paceMemory struct {
	state paceState
	log   *slog.Logger
}

// paceState is the store's State.
type paceState interface {
	Get(key string) []byte
	Put(key string, value []byte)
	PutSync(key string, value []byte) error
}

// load returns what was saved; a memory that can't be read is none, since nothing
// is lost with it but a count.
func (k paceMemory) load() pace.Memory {
	stored := k.state.Get(paceKey)
	if stored == nil {
		return pace.Memory{}
	}
	m, err := decodePace(string(stored))
	if err != nil {
		k.log.Warn("what left today is not known: counting from none", "error", err)
	}
	return m
}

func (k paceMemory) save(m pace.Memory, durable bool) {
	if !durable {
		k.state.Put(paceKey, []byte(encodePace(m)))
		return
	}
	if err := k.state.PutSync(paceKey, []byte(encodePace(m))); err != nil {
		k.log.Warn("what left today is not on flash", "error", err)
	}
}

// encodePace writes day, bytes and the Unix time at which the uplink was up, "-"
// and 0 for what is not known.
func encodePace(m pace.Memory) string {
	day, up := m.Day, int64(0)
	if day == "" {
		day = "-"
	}
	if !m.UpAt.IsZero() {
		up = m.UpAt.Unix()
	}
	return fmt.Sprintf("%s %d %d %d", day, m.Used, up, int64(m.Unset/time.Second))
}

func decodePace(s string) (pace.Memory, error) {
	fields := strings.Fields(s)
	if len(fields) != 3 && len(fields) != 4 {
		return pace.Memory{}, fmt.Errorf("%q is no day, count and time", s)
	}
	m := pace.Memory{Day: fields[0]}
	if m.Day == "-" {
		m.Day = ""
	}
	var err error
	if m.Used, err = strconv.ParseInt(fields[1], 10, 64); err != nil || m.Used < 0 {
		return pace.Memory{}, fmt.Errorf("%q is no count of bytes", fields[1])
	}
	up, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return pace.Memory{}, fmt.Errorf("%q is no time", fields[2])
	}
	if up > 0 {
		m.UpAt = time.Unix(up, 0)
	}
	if len(fields) == 4 {
		seconds, err := strconv.ParseInt(fields[3], 10, 32)
		if err != nil || seconds < 0 {
			return pace.Memory{}, fmt.Errorf("%q is no number of seconds", fields[3])
		}
		m.Unset = time.Duration(seconds) * time.Second
	}
	return m, nil
}
