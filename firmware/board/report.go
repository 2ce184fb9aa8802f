package board

import "time"

// Report is what Look found. Its JSON is an interface: fields are added to it,
// never renamed.
type Report struct {
	At           time.Time     `json:"at"`
	Uptime       float64       `json:"uptime_seconds,omitempty"` // since boot, sleep included; 0: not known
	Machine      Machine       `json:"machine"`
	Temperatures []Temperature `json:"temperatures"`
	Supply       *Supply       `json:"supply,omitempty"` // nil: the board doesn't tell
	Disks        []Disk        `json:"disks"`
	Watchdogs    []Watchdog    `json:"watchdogs"`
	LEDs         []LEDFound    `json:"leds"`
	Chips        []Chip        `json:"gpio_chips"`
	Missing      []Missing     `json:"missing"` // in the order of the fields above
}

// Missing is something that was looked for and not found, or not readable.
type Missing struct {
	What string `json:"what"` // "temperature", "supply", "disk mmcblk0: life_time", …
	Why  string `json:"why"`
}

// Machine is what the board says it is.
type Machine struct {
	Model  string `json:"model,omitempty"`
	Serial string `json:"serial,omitempty"`
}

// Temperature is one sensor.
type Temperature struct {
	Zone    string  `json:"zone"` // thermal_zone0
	Type    string  `json:"type"` // cpu-thermal
	Celsius float64 `json:"celsius"`
}

// Supply is what a Raspberry Pi knows of the voltage it gets. Once is since
// boot.
type Supply struct {
	UnderVoltage     bool   `json:"under_voltage"`
	UnderVoltageOnce bool   `json:"under_voltage_once"`
	Throttled        bool   `json:"throttled"` // slowed down, by heat or voltage
	ThrottledOnce    bool   `json:"throttled_once"`
	Source           string `json:"source"` // the file that said so
}

// Kind is what a disk is.
type Kind string

const (
	KindSD    Kind = "SD"
	KindEMMC  Kind = "eMMC"
	KindOther Kind = "other" // USB, NVMe, SATA, virtio
)

// Wear of a flash device's spare blocks, as an eMMC says it (pre_eol_info).
const (
	PreEOLNormal  = "normal"
	PreEOLWarning = "warning" // 80 % of the spare blocks are used
	PreEOLUrgent  = "urgent"  // 90 %
)

// Disk is one block device, of which a card is the common one.
type Disk struct {
	Device string `json:"device"` // mmcblk0, nvme0n1
	Kind   Kind   `json:"kind"`
	Bytes  int64  `json:"bytes"`
	// CID identifies a card: its raw register. Other disks have a Serial at best.
	CID          string `json:"cid,omitempty"`
	Manufacturer string `json:"manufacturer,omitempty"` // by its number, where that is known
	Name         string `json:"name,omitempty"`
	Serial       string `json:"serial,omitempty"`
	Date         string `json:"date,omitempty"` // of manufacture: 2024-03
	// LifeA and LifeB are the percent of its life that an eMMC has used, rounded
	// up to tens, of each of its two kinds of memory; 110 is beyond it; 0 is unknown.
	LifeA  int    `json:"life_used_a_percent,omitempty"`
	LifeB  int    `json:"life_used_b_percent,omitempty"`
	PreEOL string `json:"pre_eol,omitempty"`
	// WriteProtected: the card refuses writes for good (CSD), which is how many
	// of them end; ReadOnly: the kernel does.
	WriteProtected bool `json:"write_protected,omitempty"`
	ReadOnly       bool `json:"read_only,omitempty"`
	// BytesWritten is what this machine wrote since boot, to the whole device.
	BytesWritten int64 `json:"bytes_written_since_boot"`
}

// ID names the disk for good, or is "" where nothing does: what wear is
// accounted by.
func (d *Disk) ID() string {
	switch {
	case d.CID != "":
		return "cid-" + d.CID
	case d.Serial != "":
		return "serial-" + d.Name + "-" + d.Serial
	}
	return ""
}

// Watchdog is one hardware watchdog.
type Watchdog struct {
	Device   string `json:"device"` // watchdog0
	Identity string `json:"identity,omitempty"`
	Timeout  int    `json:"timeout_seconds,omitempty"`
	Active   bool   `json:"active"` // somebody feeds it
	// NoWayOut: once started it can't be stopped.
	NoWayOut bool `json:"no_way_out"`
}

// LEDFound is one LED that has a name.
type LEDFound struct {
	Name    string `json:"name"`
	Trigger string `json:"trigger,omitempty"` // what drives it: mmc0, heartbeat, none
	// Virtual: nothing lights. A Raspberry Pi's kernel has two of these, "mmc0" and
	// "default-on".
	Virtual bool `json:"virtual,omitempty"`
}

// Chip is one GPIO chip.
type Chip struct {
	Device string `json:"device"` // gpiochip0
	Label  string `json:"label,omitempty"`
	Lines  int    `json:"lines,omitempty"`
}
