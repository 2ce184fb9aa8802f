package status

// Severity says how soon somebody should look.
type Severity string

// What a warning can mean.
const (
	Info    Severity = "info"    // good to know; nothing to do
	Warn    Severity = "warning" // the gateway copes; somebody should look
	Failing Severity = "error"   // a promise can't be kept now; /health answers 503
)

// Code names a warning for people, scripts and search.
type Code string

// The codes.
const (
	StoreLatched       Code = "STORE_LATCHED"
	DiskFullRefusing   Code = "DISK_FULL_REFUSING"
	DrainStopped       Code = "DRAIN_STOPPED"
	RecordsDropped     Code = "RECORDS_DROPPED"
	Quarantined        Code = "QUARANTINED"
	DiskNearlyFull     Code = "DISK_NEARLY_FULL"
	UplinkDown         Code = "UPLINK_DOWN"
	SourceDown         Code = "SOURCE_DOWN"
	AnonymousListener  Code = "ANONYMOUS_LISTENER"
	ClockUnset         Code = "CLOCK_UNSET"
	ClockUnsynced      Code = "CLOCK_UNSYNCED"
	NoUplinkConfigured Code = "NO_UPLINK_CONFIGURED"
)

// Warning is one thing that can be not well.
type Warning struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	Title    string   `json:"title"`
	Advice   string   `json:"advice"`
}

// Warnings are all there are, worst first.
var Warnings = []Warning{
	{StoreLatched, Failing, "the journal stopped after a failed write",
		"Nothing is confirmed until the agent is restarted and has read the journal's end back. Look at the kernel log for errors of the card, and replace it if they come again."},
	{DiskFullRefusing, Failing, "flash is full and records are refused",
		"Devices are told (MQTT 5) or disconnected (3.1.1) and should try again. Bring the uplink back, give [storage] max_bytes more room, or set when_full = \"drop_oldest\" on streams that may lose old records."},
	{DrainStopped, Failing, "the drain of a partition stopped",
		"The centre's answers don't fit what was sent before, and going on could lose or repeat records. `cistern status` names the partition and the reason; the records stay here meanwhile."},
	{RecordsDropped, Warn, "records were dropped to make room",
		"A stream with when_full = \"drop_oldest\" or drop_undrained lost records that were never drained. `cistern status` counts them by stream."},
	{Quarantined, Warn, "records were set aside",
		"The centre refuses these records for good, or they are damaged on flash. They are not drained; the rest goes on. `cistern status` counts them by stream, the log names their offsets."},
	{DiskNearlyFull, Warn, "flash is nearly full",
		"At this rate records will be refused or dropped, as each stream's when_full says. Bring the uplink back, or give [storage] max_bytes more room."},
	{UplinkDown, Warn, "the central cluster can't be reached",
		"Records are buffered and will be drained when it is back. Check the gateway's network, brokers in [uplink.kafka], certificates and passwords."},
	{SourceDown, Warn, "an external MQTT broker can't be reached",
		"The broker keeps messages for this gateway up to its own limits. Check [[mqtt.source]] and the broker."},
	{AnonymousListener, Warn, "anybody on the network may publish",
		"A listener that others can reach has anonymous = true. Make users with `cistern user add` and set password_file instead."},
	{ClockUnset, Warn, "the clock was never set",
		"Records carry wrong times until it is. Check the network time service, or give the gateway a battery-backed clock."},
	{ClockUnsynced, Info, "the clock is not synchronised",
		"No time service has confirmed the clock lately. It may drift by seconds a day; records are kept and drained as always."},
	{NoUplinkConfigured, Info, "no uplink: buffering",
		"Records stay here until retention or size removes them. Set brokers in [uplink.kafka] to drain them."},
}

// Lookup returns the warning with that code.
func Lookup(code Code) (Warning, bool) {
	for _, w := range Warnings {
		if w.Code == code {
			return w, true
		}
	}
	return Warning{}, false
}
