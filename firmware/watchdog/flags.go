package watchdog

// Flags of linux/watchdog.h, the same on every architecture.
const (
	flagOverheat   = 0x0001
	flagPowerUnder = 0x0010
	flagCardReset  = 0x0020
	flagPowerOver  = 0x0040
	flagMagicClose = 0x0100
)
