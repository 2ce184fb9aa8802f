package main

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"cistern/firmware/init/keep"
	"cistern/firmware/slot"
)

// tryArgument is what the Pi's firmware is told to boot the other slot once.
const tryArgument = "0 tryboot"

// finish ends the machine: the agent has stopped. The hardware's watchdog runs
// on, so that an end that hangs is an end too.
func (s *system) finish(how ending) {
	s.watch.allow(keep.EndMax)
	if s.data.mounted {
		if err := s.keepTime(); err != nil {
			s.console.say("clock: %v", err)
		}
		if err := unmount(dataDir); err != nil {
			s.console.say("data: %v", err)
		} else {
			s.console.say("data: unmounted")
		}
	}
	unix.Sync()
	if how.off {
		s.console.say("off")
	} else {
		s.console.say("reboot%s", map[bool]string{true: ", to try the other slot"}[how.try])
	}
	s.console.drain(2 * time.Second)
	err := s.power(how)
	// Here still: the kernel refused.
	s.console.say("the kernel does not end: %v", err)
	s.console.drain(2 * time.Second)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// unmount tries for a while: a killed agent's files are closed a moment after
// its end. What can't be unmounted is made read-only, which writes everything.
func unmount(path string) (err error) {
	for range 20 {
		if err = unix.Unmount(path, 0); err != unix.EBUSY {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err == nil {
		return nil
	}
	if ro := unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); ro != nil {
		return fmt.Errorf("unmounting %s: %w; making it read-only: %w; its journal is replayed at the next boot", path, err, ro)
	}
	return nil
}

func (s *system) power(how ending) error {
	switch {
	case how.off:
		s.watch.leave()
		return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	case how.try && s.options.board == slot.BoardPi:
		return restart2(tryArgument)
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// restart2 reboots with an argument for the firmware.
func restart2(argument string) error {
	text, err := unix.BytePtrFromString(argument)
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2,
		unix.LINUX_REBOOT_CMD_RESTART2, uintptr(unsafe.Pointer(text)), 0, 0)
	return errno
}
