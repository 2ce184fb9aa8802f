package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what a process has taken from the machine so far.
type Usage struct {
	CPU time.Duration // user and system, all threads
	RSS int64         // bytes resident now
}

// clockTicks is the kernel's USER_HZ, 100 on every architecture Go runs on.
const clockTicks = 100

// Usage reads /proc.
func (p *Process) Usage() (Usage, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return Usage{}, err
	}
	// The second field is the command in brackets and may hold spaces.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 22 {
		return Usage{}, fmt.Errorf("/proc/%d/stat has %d fields after the command", p.PID(), len(fields))
	}
	var n [3]int64
	for i, field := range []int{11, 12, 21} { // utime, stime, rss in pages
		if n[i], err = strconv.ParseInt(fields[field], 10, 64); err != nil {
			return Usage{}, fmt.Errorf("/proc/%d/stat: %w", p.PID(), err)
		}
	}
	return Usage{
		CPU: time.Duration(n[0]+n[1]) * (time.Second / clockTicks),
		RSS: n[2] * int64(os.Getpagesize()),
	}, nil
}

// DeviceOf returns the name of the block device a folder lies on, the whole
// disk when it is a partition.
func DeviceOf(dir string) (string, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	link, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(uint64(st.Dev)), unix.Minor(uint64(st.Dev))))
	if err != nil {
		return "", fmt.Errorf("%s lies on no block device: %w", dir, err)
	}
	if _, err := os.Stat(filepath.Join(link, "partition")); err == nil {
		link = filepath.Dir(link)
	}
	return filepath.Base(link), nil
}
