package machine

import "time"

// Env names the variable that holds the socket's path in the agent's
// environment.
const Env = "CISTERN_MACHINE"

// Where the machine's requests go: see the package's comment.
const (
	PathMachine  = "/v1/machine"
	PathUpdate   = "/v1/update"
	PathReboot   = "/v1/reboot"
	PathPoweroff = "/v1/poweroff"
	PathGood     = "/v1/good"
)

// UpdateBytesMax bounds an update file. A slot holds 96 MiB before compression.
const UpdateBytesMax = 128 << 20

// State is the machine as it is now. Its JSON is an interface for scripts:
// fields are added, never renamed.
type State struct {
	Version     string    `json:"version"` // of the image that runs
	Commit      string    `json:"commit"`
	Board       string    `json:"board"` // pi or qemu
	Build       string    `json:"build"` // names the content of the image that runs
	Slot        string    `json:"slot"`  // a or b
	BootID      string    `json:"boot_id"`
	Trial       bool      `json:"trial"`               // this slot is not yet the one that boots next time
	TrialEnds   time.Time `json:"trial_ends,omitzero"` // when it is given up unless it is called good
	Other       Slot      `json:"other"`
	LastUpdate  *Update   `json:"last_update,omitempty"` // nil: there was none
	ClockSynced bool      `json:"clock_synced"`
	Data        Data      `json:"data"`
	Serial      string    `json:"serial"` // of the board; empty if it has none
	Hostname    string    `json:"hostname"`
	Addresses   []string  `json:"addresses"` // of its network interface, as 10.0.0.5/24
}

// Slot is what the slot that does not run holds.
type Slot struct {
	Slot    string `json:"slot"`
	Version string `json:"version"`           // empty: nothing that boots, or not readable
	Build   string `json:"build"`             //
	Problem string `json:"problem,omitempty"` // why it can't be read
}

// What became of an update.
const (
	Written    = "written"     // it lies in the other slot and was not booted yet
	Trying     = "trying"      // its slot runs, or was told to, and is not yet called good
	Good       = "good"        // its slot is the one that boots
	RolledBack = "rolled back" // it was tried and given up; Why says for what
)

// Update is the last one that was written.
type Update struct {
	Version string    `json:"version"`
	Build   string    `json:"build"`
	Slot    string    `json:"slot"`
	Result  string    `json:"result"`
	Why     string    `json:"why,omitempty"`
	At      time.Time `json:"at"` // of the result
}

// Data is the partition that holds what the gateway keeps.
type Data struct {
	Device string `json:"device"`
	Type   string `json:"type"` // ext4 or f2fs
	Bytes  int64  `json:"bytes"`
	Fsck   string `json:"fsck"` // what the check at this boot said
}

// WrittenUpdate answers an update that lies in the other slot now.
type WrittenUpdate struct {
	Version string `json:"version"`
	Build   string `json:"build"`
	Slot    string `json:"slot"`
}

// RebootOrder asks for a restart; with Try, once into the other slot.
type RebootOrder struct {
	Try bool `json:"try"`
}
