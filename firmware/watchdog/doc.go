// Package watchdog feeds a hardware watchdog: a counter in the chip that resets
// the machine when nobody has fed it in time, whatever hangs.
//
// Opening it starts it. From then on whoever opened it owes it a Feed within
// every Timeout (thirds of it are a good habit), until Close stops it, or Leave
// goes away and lets it run: then the machine resets unless somebody else opens
// it in time, which is what init does around a reboot.
package watchdog
