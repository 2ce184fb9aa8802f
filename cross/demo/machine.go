package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// reading is one measurement: an MQTT topic below the machine's, and values.
type reading struct {
	topic  string
	values []value
}

type value struct {
	name string
	is   float64
}

// part is one part of the machine, read from /proc and /sys by a device of its
// own. What can't be read on this machine is left out.
type part struct {
	name string
	read func() []reading
}

// parts returns those parts that have something to say here.
func parts() []part {
	return slices.DeleteFunc([]part{
		{"load", load}, {"memory", memory}, {"cpu", processors}, {"disk", disks}, {"net", networks},
	}, func(p part) bool { return len(p.read()) == 0 })
}

// messages makes one MQTT message after the other from what a part reads, which
// reads again when all of it went out. A part that has nothing to say any more (a
// disk was unplugged) says so.
func messages(prefix string, p part) func(number func(string) int64) (string, int64, []byte) {
	var waiting []reading
	return func(number func(string) int64) (string, int64, []byte) {
		if len(waiting) == 0 {
			waiting = p.read()
		}
		if len(waiting) == 0 {
			waiting = []reading{{topic: p.name}}
		}
		r := waiting[0]
		waiting = waiting[1:]
		topic := prefix + "/" + r.topic
		seq := number(topic)
		return topic, seq, r.json(seq, time.Now())
	}
}

func (r reading) json(seq int64, at time.Time) []byte {
	b := fmt.Appendf(nil, `{"seq":%d,"at":%q`, seq, at.UTC().Format(time.RFC3339Nano))
	for _, v := range r.values {
		b = append(strconv.AppendQuote(append(b, ','), v.name), ':')
		b = strconv.AppendFloat(b, v.is, 'f', -1, 64)
	}
	return append(b, '}')
}

func load() []reading {
	f := fields("/proc/loadavg")
	if len(f) < 3 {
		return nil
	}
	return []reading{{"load", []value{{"1m", number(f[0])}, {"5m", number(f[1])}, {"15m", number(f[2])}}}}
}

func memory() []reading {
	r := reading{topic: "memory"}
	for line := range lines("/proc/meminfo") {
		name, rest, _ := strings.Cut(line, ":")
		switch name {
		case "MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "Dirty", "SwapFree":
			kilobytes, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			r.values = append(r.values, value{strings.ToLower(name) + "_kb", number(kilobytes)})
		}
	}
	return some(r)
}

// processors reads ticks since boot, for each CPU.
func processors() []reading {
	var all []reading
	for line := range lines("/proc/stat") {
		f := strings.Fields(line)
		if len(f) < 9 || !strings.HasPrefix(f[0], "cpu") || f[0] == "cpu" {
			continue
		}
		r := reading{topic: "cpu/" + strings.TrimPrefix(f[0], "cpu")}
		for i, name := range []string{"user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"} {
			r.values = append(r.values, value{name, number(f[i+1])})
		}
		all = append(all, r)
	}
	return all
}

// disks reads each disk's own counters, leaving out those that never wrote.
func disks() []reading {
	var all []reading
	names, _ := filepath.Glob("/sys/block/*/stat")
	for _, name := range names {
		f := fields(name)
		if len(f) < 10 || f[4] == "0" {
			continue
		}
		all = append(all, reading{"disk/" + filepath.Base(filepath.Dir(name)), []value{
			{"reads", number(f[0])}, {"sectors_read", number(f[2])},
			{"writes", number(f[4])}, {"sectors_written", number(f[6])}, {"busy_ms", number(f[9])},
		}})
	}
	return all
}

func networks() []reading {
	var all []reading
	dirs, _ := filepath.Glob("/sys/class/net/*/statistics")
	for _, dir := range dirs {
		r := reading{topic: "net/" + filepath.Base(filepath.Dir(dir))}
		for _, name := range []string{"rx_bytes", "tx_bytes", "rx_packets", "tx_packets", "rx_errors", "tx_errors"} {
			if f := fields(filepath.Join(dir, name)); len(f) == 1 {
				r.values = append(r.values, value{name, number(f[0])})
			}
		}
		all = append(all, some(r)...)
	}
	return all
}

// some leaves out a reading without values.
func some(r reading) []reading {
	if len(r.values) == 0 {
		return nil
	}
	return []reading{r}
}

func fields(name string) []string {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}

func lines(name string) func(yield func(string) bool) {
	text, _ := os.ReadFile(name) // a machine without it has nothing to say
	return strings.Lines(string(text))
}

func number(s string) float64 {
	n, _ := strconv.ParseFloat(s, 64) // a counter the kernel wrote
	return n
}
