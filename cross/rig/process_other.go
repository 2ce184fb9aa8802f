//go:build !linux

package rig

import "syscall"

// ChildAttributes puts a child into a process group of its own.
func ChildAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
