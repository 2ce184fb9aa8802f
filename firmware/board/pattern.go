package board

import "time"

// Pattern is what the status LED shows.
type Pattern int

// The patterns, from the best to the worst and then the end. Who shows one
// picks the worst that holds.
//
//	Dark          nothing: before the first Show
//	OK            on, with a short wink every 3 s: alive
//	NoUplink      one flash, pause
//	Parked        two flashes, pause
//	DiskNearFull  three flashes, pause
//	NotInSync     four flashes, pause
//	Failing       fast blinking, without a pause
//	ShuttingDown  slow even blinking: one second on, one off
//	SafeToCut     dark, with a short flash every 5 s
//
// A steady light is none of them, so that a gateway that hangs is not taken for
// one that is well; dark is as good as SafeToCut, since a machine that is off or
// hangs in the dark has nothing under way that a cut could spoil.
const (
	Dark Pattern = iota
	OK
	NoUplink
	Parked
	DiskNearFull
	NotInSync
	Failing
	ShuttingDown
	SafeToCut
)

// Shape is how a pattern looks.
type Shape struct {
	Pattern Pattern
	Name    string          // for status and logs
	Looks   string          // for people
	Steps   []time.Duration // on, off, on, off…, repeated; none is dark
}

const (
	wink  = 150 * time.Millisecond // the shortest that is surely seen
	flash = 200 * time.Millisecond
	dark  = 300 * time.Millisecond // between flashes that are counted
	pause = 1500 * time.Millisecond
)

// flashes counts to n, and waits.
func flashes(n int) []time.Duration {
	var steps []time.Duration
	for range n {
		steps = append(steps, flash, dark)
	}
	steps[len(steps)-1] = pause
	return steps
}

var shapes = [...]Shape{
	{Dark, "dark", "nothing", nil},
	{OK, "ok", "on, with a short wink every 3 seconds", []time.Duration{3*time.Second - wink, wink}},
	{NoUplink, "no uplink", "one flash, pause", flashes(1)},
	{Parked, "parked", "two flashes, pause", flashes(2)},
	{DiskNearFull, "disk near full", "three flashes, pause", flashes(3)},
	{NotInSync, "not in sync", "four flashes, pause", flashes(4)},
	{Failing, "failing", "fast blinking without a pause", []time.Duration{wink, wink}},
	{ShuttingDown, "shutting down", "one second on, one second off", []time.Duration{time.Second, time.Second}},
	{SafeToCut, "safe to cut", "dark, with a short flash every 5 seconds", []time.Duration{wink, 5*time.Second - wink}},
}

// Patterns returns how every pattern looks.
func Patterns() []Shape { return shapes[:] }

func (p Pattern) valid() bool { return p >= 0 && int(p) < len(shapes) }

// String names the pattern.
func (p Pattern) String() string {
	if !p.valid() {
		return "no pattern"
	}
	return shapes[p].Name
}
