package board

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Look looks what the board has. It takes no line, changes nothing, and needs
// no rights: what it may not read is Missing, with the reason. It reads some
// tens of small files, so it can be done each minute.
func Look(root string) *Report {
	l := &looker{root: root, Report: &Report{
		At: time.Now(), Temperatures: []Temperature{}, Disks: []Disk{}, Watchdogs: []Watchdog{}, LEDs: []LEDFound{}, Chips: []Chip{}, Missing: []Missing{},
	}}
	l.Uptime = uptime(root)
	l.machine()
	l.temperatures()
	l.supply()
	l.disks()
	l.watchdogs()
	l.leds()
	l.chips()
	return l.Report
}

// uptime is for how long the machine has run, in seconds, whatever its clock says;
// 0 where it is not told.
func uptime(root string) float64 {
	up, _, _ := strings.Cut(optional(in(root, "proc/uptime")), " ")
	seconds, err := strconv.ParseFloat(up, 64)
	if err != nil || !(seconds > 0) || math.IsInf(seconds, 0) {
		return 0
	}
	return seconds
}

// looker is one look under way.
type looker struct {
	root string
	*Report
}

func (l *looker) in(elements ...string) string { return in(l.root, elements...) }

func (l *looker) missing(what, why string) { l.Missing = append(l.Missing, Missing{what, why}) }

// miss notes what could not be read, unless it is just not there.
func (l *looker) miss(what string, err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.missing(what, err.Error())
	}
}

// entries lists a folder whose entries begin with prefix; an empty one is
// missing, for the reason that none gives.
func (l *looker) entries(what, dir, prefix, meaning string) []string {
	all, err := names(dir)
	if err != nil {
		l.missing(what, none(err, meaning))
		return nil
	}
	var list []string
	for _, name := range all {
		if strings.HasPrefix(name, prefix) {
			list = append(list, name)
		}
	}
	if len(list) == 0 {
		l.missing(what, fmt.Sprintf("%s: %s has no %s*", meaning, dir, prefix))
	}
	return list
}

// machine reads the device tree, or the BIOS of a PC.
func (l *looker) machine() {
	model, err := text(l.in("proc/device-tree/model"))
	if err == nil {
		l.Machine.Model = model
		l.Machine.Serial = optional(l.in("proc/device-tree/serial-number"))
		return
	}
	l.miss("machine", err)
	dmi := l.in("sys/class/dmi/id")
	l.Machine.Model = strings.TrimSpace(optional(filepath.Join(dmi, "sys_vendor")) + " " + optional(filepath.Join(dmi, "product_name")))
	l.Machine.Serial = optional(filepath.Join(dmi, "product_serial")) // of root only
	if l.Machine.Model == "" {
		l.missing("machine", "neither a device tree nor a BIOS says what it is")
	}
}

// Temperatures that no machine of ours has, so that a sensor without a chip
// behind it is not believed.
const celsiusMin, celsiusMax = -60, 200

func (l *looker) temperatures() {
	dir := l.in("sys/class/thermal")
	for _, zone := range l.entries("temperature", dir, "thermal_zone", "the kernel knows no sensor") {
		path := filepath.Join(dir, zone, "temp")
		s, err := value(path)
		if err != nil {
			l.missing("temperature "+zone, err.Error())
			continue
		}
		milli, err := strconv.ParseInt(s, 10, 32)
		if err != nil || milli < celsiusMin*1000 || milli > celsiusMax*1000 {
			l.missing("temperature "+zone, fmt.Sprintf("%s: %q is no temperature in thousandths of a degree", path, short(s)))
			continue
		}
		l.Temperatures = append(l.Temperatures, Temperature{zone, optional(filepath.Join(dir, zone, "type")), float64(milli) / 1000})
	}
}

// Bits of get_throttled.
const (
	lowNow       = 1 << 0
	cappedNow    = 1 << 1 // its clock is held down
	throttledNow = 1 << 2
	onceShift    = 16
)

// supply asks the Raspberry Pi's firmware, or the kernel's driver for it, which
// knows the under-voltage alone.
func (l *looker) supply() {
	before := len(l.Missing)
	paths, _ := filepath.Glob(l.in("sys/devices/platform/soc*/*firmware/get_throttled")) // the pattern is fine
	for _, path := range paths {
		flags, err := number(path, 16)
		if err != nil {
			l.missing("supply", err.Error())
			continue
		}
		once := flags >> onceShift
		l.Supply = &Supply{
			UnderVoltage:     flags&lowNow != 0,
			UnderVoltageOnce: once&lowNow != 0,
			Throttled:        flags&(throttledNow|cappedNow) != 0,
			ThrottledOnce:    once&(throttledNow|cappedNow) != 0,
			Source:           path,
		}
		return
	}
	monitors, _ := names(l.in("sys/class/hwmon")) // without it there is no monitor
	for _, m := range monitors {
		if optional(l.in("sys/class/hwmon", m, "name")) != "rpi_volt" {
			continue
		}
		path := l.in("sys/class/hwmon", m, "in0_lcrit_alarm")
		alarm, err := number(path, 10)
		if err != nil {
			l.missing("supply", err.Error())
			continue
		}
		// The driver asks every two seconds and keeps the alarm while it lasts.
		l.Supply = &Supply{UnderVoltage: alarm != 0, UnderVoltageOnce: alarm != 0, Source: path}
		return
	}
	if len(l.Missing) > before {
		return // it is said already why not
	}
	l.missing("supply", "nothing here measures the voltage (a Raspberry Pi's get_throttled, a monitor called rpi_volt)")
}

func (l *looker) watchdogs() {
	dir := l.in("sys/class/watchdog")
	for _, name := range l.entries("watchdog", dir, "watchdog", "the kernel has no driver for one") {
		w := Watchdog{Device: name, Identity: optional(filepath.Join(dir, name, "identity"))}
		w.Active = optional(filepath.Join(dir, name, "state")) == "active"
		// Kernels without CONFIG_WATCHDOG_SYSFS tell none of it.
		timeout, err := number(filepath.Join(dir, name, "timeout"), 10)
		l.miss("watchdog "+name, err)
		w.Timeout = int(min(timeout, math.MaxInt32))
		noWayOut, err := number(filepath.Join(dir, name, "nowayout"), 10)
		l.miss("watchdog "+name, err)
		w.NoWayOut = noWayOut != 0
		l.Watchdogs = append(l.Watchdogs, w)
	}
}

func (l *looker) leds() {
	dir := l.in(ledsDir)
	for _, name := range l.entries("led", dir, "", "the kernel names no LED") {
		drives, err := trigger(filepath.Join(dir, name))
		l.miss("led "+clean(name), err)
		_, err = os.Stat(filepath.Join(dir, name, "device"))
		l.LEDs = append(l.LEDs, LEDFound{clean(name), drives, errors.Is(err, fs.ErrNotExist)})
	}
}

// ledNames lists the LEDs for messages.
func ledNames(root string) []string {
	l := looker{root, &Report{}}
	l.leds()
	if len(l.LEDs) == 0 {
		return []string{"none"}
	}
	var list []string
	for _, led := range l.LEDs {
		list = append(list, led.Name)
	}
	return list
}

func (l *looker) chips() {
	const meaning = "the kernel shows no GPIO chip"
	for _, device := range l.entries("gpio", l.in("sys/bus/gpio/devices"), "gpiochip", meaning) {
		label, lines, err := chipInfo(l.in("dev", device))
		if err != nil {
			l.missing("gpio "+device, err.Error())
		}
		l.Chips = append(l.Chips, Chip{device, clean(label), lines})
	}
}
