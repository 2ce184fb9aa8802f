package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// runBytes bounds what is kept in memory: the operator's files, the log, what an
// import of the agent puts aside.
const runBytes = "size=32m,nr_inodes=2k,mode=755"

// mounts makes the kernel's file systems and our folders, and tells what failed.
func mounts() (failed []error) {
	const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, m := range []struct {
		what, where, options string
		flags                uintptr
	}{
		{"proc", "/proc", "", plain},
		{"sysfs", "/sys", "", plain},
		{"devtmpfs", "/dev", "mode=755", unix.MS_NOSUID | unix.MS_NOEXEC},
		{"tmpfs", "/run", runBytes, plain},
	} {
		if err := os.MkdirAll(m.where, 0o755); err != nil {
			failed = append(failed, err)
		} else if err := unix.Mount(m.what, m.where, m.what, m.flags, m.options); err != nil && !errors.Is(err, unix.EBUSY) {
			failed = append(failed, fmt.Errorf("mounting %s: %w", m.where, err))
		}
	}
	for _, f := range []struct {
		path  string
		owner int
		mode  os.FileMode
	}{
		{dataDir, 0, 0o755}, {runDir, 0, 0o755}, {configDir, agentUser, 0o700}, {agentTemp, agentUser, 0o700}, {logDir, 0, 0o755},
	} {
		if err := folder(f.path, f.owner, f.mode); err != nil {
			failed = append(failed, err)
		}
	}
	// A clock that is behind is no reason for e2fsck to doubt a file system.
	if err := os.WriteFile(fsckConfig, []byte("[options]\nbroken_system_clock = true\n"), 0o644); err != nil {
		failed = append(failed, err)
	}
	return failed
}

// What the agent may use. The limits and no_new_privs are set for init, from
// which they are inherited: so nothing is started without them.
const (
	filesMax     = 65536
	processesMax = 4096 // threads of the agent
	oomNever     = "-1000"
)

// harden gives away what no child of ours ever needs.
func harden() error {
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	var failed []error
	if errno != 0 {
		failed = append(failed, fmt.Errorf("no_new_privs: %w", errno))
	}
	for _, l := range []struct {
		what  int
		limit uint64
	}{{unix.RLIMIT_NOFILE, filesMax}, {unix.RLIMIT_NPROC, processesMax}, {unix.RLIMIT_CORE, 0}} {
		// syscall's, not unix's: only after it Go leaves the number of files as it
		// is for children.
		if err := syscall.Setrlimit(l.what, &syscall.Rlimit{Cur: l.limit, Max: l.limit}); err != nil {
			failed = append(failed, fmt.Errorf("limit %d: %w", l.what, err))
		}
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(oomNever), 0); err != nil {
		failed = append(failed, err)
	}
	unix.Umask(0o022)
	return errors.Join(failed...)
}
