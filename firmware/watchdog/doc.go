// Package watchdog feeds a hardware watchdog: a counter in the chip that resets
// the machine when nobody has fed it in time, whatever hangs.
//
// Opening it starts it. From then on whoever opened it owes it a Feed within
// every Timeout (thirds of it are a good habit), until Close stops it. Who goes
// away without that, or goes on without feeding it, asks for a reset.
package watchdog
