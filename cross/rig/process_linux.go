package rig

import "syscall"

// ChildAttributes puts a child into a process group of its own, so that Ctrl-C
// in the terminal reaches only us and we decide who stops when, and lets the
// kernel kill it should we die without having decided.
func ChildAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
