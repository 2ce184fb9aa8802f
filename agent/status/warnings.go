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
	StoreLatched        Code = "STORE_LATCHED"
	DiskFullRefusing    Code = "DISK_FULL_REFUSING"
	DrainStopped        Code = "DRAIN_STOPPED"
	PartitionLeaderless Code = "PARTITION_LEADERLESS"
	NameConflict        Code = "NAME_CONFLICT"
	GatewayRemoved      Code = "GATEWAY_REMOVED"
	RecordsGivenUp      Code = "RECORDS_GIVEN_UP"
	CardFailing         Code = "CARD_FAILING"
	ParkedLost          Code = "PARKED_LOST"
	MendingWaits        Code = "MENDING_WAITS"
	RecordsMended       Code = "RECORDS_MENDED"
	RecordsDropped      Code = "RECORDS_DROPPED"
	Quarantined         Code = "QUARANTINED"
	SiteNoQuorum        Code = "SITE_NO_QUORUM"
	SiteForming         Code = "SITE_FORMING"
	SiteConflict        Code = "SITE_CONFLICT"
	GatewayFenced       Code = "GATEWAY_FENCED"
	RecordsParked       Code = "RECORDS_PARKED"
	UnderReplicated     Code = "UNDER_REPLICATED"
	CopyStarved         Code = "COPY_STARVED"
	ConfigDiffers       Code = "CONFIG_DIFFERS"
	DiskNearlyFull      Code = "DISK_NEARLY_FULL"
	UnderVoltage        Code = "UNDER_VOLTAGE"
	CardWorn            Code = "CARD_WORN"
	CardWritesHigh      Code = "CARD_WRITES_HIGH"
	BoardHot            Code = "BOARD_HOT"
	BoardPart           Code = "BOARD_PART"
	UplinkDown          Code = "UPLINK_DOWN"
	BudgetSpent         Code = "DAILY_BYTES_SPENT"
	ScheduleClosed      Code = "SCHEDULE_CLOSED"
	DrainPaused         Code = "DRAIN_PAUSED"
	SourceDown          Code = "SOURCE_DOWN"
	AnonymousListener   Code = "ANONYMOUS_LISTENER"
	ClockUnset          Code = "CLOCK_UNSET"
	GatewayDraining     Code = "GATEWAY_DRAINING"
	UnderVoltageOnce    Code = "UNDER_VOLTAGE_ONCE"
	UpdateRolledBack    Code = "UPDATE_ROLLED_BACK"
	UpdateOnTrial       Code = "UPDATE_ON_TRIAL"
	ClockUnsynced       Code = "CLOCK_UNSYNCED"
	NoUplinkConfigured  Code = "NO_UPLINK_CONFIGURED"
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
	{PartitionLeaderless, Failing, "a partition has no leader",
		"Its records are parked on the gateways that take them, and go on when a gateway that has the partition in full is back. `cistern partitions` names those. If they are gone for good, `cistern partitions elect --unclean` gives up what only they had."},
	{NameConflict, Failing, "another gateway of the site has this gateway's name",
		"One of the two is not let in. Give each a name of its own, [gateway] name, and restart it."},
	{GatewayRemoved, Failing, "this gateway was removed from the site",
		"The others go on without it, and what it takes is confirmed to nobody. Switch it off; or, to have it join again with the records that it has, stop it, run `cistern site forget` and start it."},
	{CardFailing, Warn, "the card is at its end",
		"It has no spare blocks left to speak of, or takes no more writes. Replace it now: stop the gateway, copy its data folder to a new card, or, on a site, remove it and let it join again with an empty one."},
	{RecordsGivenUp, Warn, "records were given up to have a leader again",
		"On an operator's word a gateway leads that did not have everything. The log names the offsets; `cistern partitions` shows the partition."},
	{ParkedLost, Warn, "parked records were lost to damaged flash",
		"They were on this gateway alone, waiting for their leader, and can't be read back. `cistern check` finds the damage; replace the card if there is more. The warning ends with a restart."},
	{MendingWaits, Warn, "records that flash lost here are not back yet",
		"They can't be read here, and the drain of that partition waits for them; others go on. From a gateway: it may have them, and does not answer or can't say yet. Bring it back, or, if it is gone for good, remove it (`cistern site remove`). Can't be proven: a gateway sent them, but this one has lost what would show that they are the same. Let that gateway lead, which reads them from its own copy: `cistern site drain-node` with this gateway's name. No gateway is named: they came, and this one's flash can't keep them: replace the card, or make room. The drain reads them from memory meanwhile, a piece at a time. To go on without them: `cistern drain skip STREAM/PARTITION --to OFFSET`, with the offset behind the last."},
	{RecordsMended, Warn, "flash lost records, and another copy gave them back",
		"Nothing is missing. But this card has begun to lose what it holds: `cistern check` shows how much; replace it if there is more. The warning ends with a restart."},
	{RecordsDropped, Warn, "records were dropped to make room",
		"A stream with when_full = \"drop_oldest\" or drop_undrained lost records that were never drained. `cistern status` counts them by stream."},
	{Quarantined, Warn, "records were set aside",
		"The centre refuses these records for good, or they are damaged on flash. They are not drained; the rest goes on. `cistern status` counts them by stream, the log names their offsets."},
	{SiteNoQuorum, Warn, "the site has no majority",
		"Leaders go on with the gateways they have, but nobody can take over from one that fails, and no gateway can join. Bring gateways back, or the network between them. If a majority is gone for good: `cistern site recover`."},
	{SiteForming, Warn, "the site waits for its first gateways",
		"It begins when bootstrap_expect gateways see each other; devices are not let in until then. Check that the others run, with the same key_file, and that join in [site] names one that they can reach."},
	{SiteConflict, Warn, "two sites have the same key",
		"Gateways in reach were formed into another site with this site's key; the two keep apart. Make one of them anew: stop those gateways, move their data away, and give them a key of their own."},
	{GatewayFenced, Warn, "the site takes this gateway for dead",
		"It leads nothing and is in no ISR until it has said that it lives; records for it are handed to others or parked. If this lasts, check the network between the gateways: UDP and TCP to gossip, TCP to listen."},
	{RecordsParked, Warn, "records are parked",
		"They are on this gateway's flash only, since the leaders of their partitions don't take them now, and are handed over in order when they do. The devices of held ones wait for their confirmation meanwhile. `cistern site` shows who is missing."},
	{UnderReplicated, Warn, "partitions have fewer copies than they should",
		"A gateway that fails now may take with it what the others don't have yet. `cistern partitions` shows whose copy is missing; copies of a gateway that is away for longer than replace_after are given to others."},
	{CopyStarved, Warn, "a copy can't go on behind records that no gateway has",
		"Flash lost them here, and the gateway whose copy waits in front of them (`cistern partitions` shows who is missing) stays out of sync until all up to there is confirmed and drained: see that an uplink works, and that enough gateways are in sync. To drain on without them: `cistern drain skip STREAM/PARTITION --to OFFSET`, with the offset behind the last."},
	{ConfigDiffers, Warn, "this gateway's file describes streams otherwise than the site",
		"The site's settings count. Make them those of this file with `cistern site apply`, or correct the file."},
	{DiskNearlyFull, Warn, "flash is nearly full",
		"At this rate records will be refused or dropped, as each stream's when_full says. Bring the uplink back, or give [storage] max_bytes more room."},
	{UnderVoltage, Warn, "the board gets too little voltage",
		"It slows down, and a card that is written meanwhile can lose what it holds. Use a power supply that is made for this board, and a short cable; take off what draws from its USB."},
	{CardWorn, Warn, "the card wears out",
		"It says itself that most of its life is used. Order another, an industrial one if this one was not; a longer commit_window or commit_latency_max makes it last. docs/site-planning.md tells how long cards live."},
	{CardWritesHigh, Warn, "the card is written more in a day than its budget",
		"It wears out sooner than planned. Give streams a longer commit_window, or a longer commit_latency_max where that is \"auto\"; or fewer replicas. If little of it is the journal's, look what else writes to this card. A card that bears it wants a larger daily_write_budget. docs/site-planning.md tells how long cards live."},
	{BoardHot, Warn, "the board is too hot",
		"It slows down to cool. Give it air or a heat sink, or move it out of the sun; flash ages faster, too."},
	{BoardPart, Warn, "a part of the board does not work",
		"The gateway runs without it. Check [board] in the configuration against what `cistern board` finds, and that the agent may open the device."},
	{UplinkDown, Warn, "the central cluster can't be reached",
		"Records are buffered and will be drained when it is back. Check the gateway's network, brokers in [uplink.kafka], certificates and passwords."},
	{BudgetSpent, Warn, "the daily budget of the uplink is used up",
		"Records are buffered until the day ends, by local time. If this comes every day there is more to send than daily_bytes in [uplink] allows: give it more, or send less."},
	{ScheduleClosed, Warn, "the hours of the uplink leave a backlog that grows old",
		"Nothing leaves outside schedule in [uplink], and records wait for more than a day: the hours are too short for what comes in, or the link is down when they come."},
	{DrainPaused, Warn, "the drain of a partition is paused",
		"On an operator's word its records stay here. `cistern drain resume` lets them go on."},
	{SourceDown, Warn, "an external MQTT broker can't be reached",
		"The broker keeps messages for this gateway up to its own limits. Check [[mqtt.source]] and the broker."},
	{AnonymousListener, Warn, "anybody on the network may publish",
		"A listener that others can reach has anonymous = true. Make users with `cistern user add` and set password_file instead."},
	{ClockUnset, Warn, "the clock was never set",
		"Records carry wrong times until it is. Check the network time service, or give the gateway a battery-backed clock."},
	{UpdateRolledBack, Warn, "the last update was tried and rolled back",
		"The gateway runs its former version, and well. Do what the reason says and apply the update again, or another; the warning ends with an update that is good."},
	{UpdateOnTrial, Info, "an update is on trial",
		"It stays when the gateway has come back into its site in time; else the gateway rolls back by itself. There is nothing to do."},
	{GatewayDraining, Info, "this gateway leads nothing, on an operator's word",
		"It keeps its copies and takes records for others. `cistern site drain-node NAME --undo` lets it lead again."},
	{UnderVoltageOnce, Info, "the board got too little voltage at times",
		"Since it was started, not now: often at a moment of load. A stronger power supply or a shorter cable ends it; the note ends with a restart of the machine."},
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
