package agent

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// kernelSynced asks the kernel whether a time service keeps its clock.
func kernelSynced() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}

// machineBoot names this boot as `journalctl --list-boots` does, and counts the
// time since, sleep included.
func machineBoot() (name string, uptime func() time.Duration) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	name = strings.ReplaceAll(strings.TrimSpace(string(id)), "-", "")
	if _, ok := sinceBoot(); err != nil || !ok || !isBootName(name) {
		return processBoot()
	}
	return name, func() time.Duration {
		up, _ := sinceBoot()
		return up
	}
}

func sinceBoot() (time.Duration, bool) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return time.Duration(t.Nano()), err == nil
}
