//go:build !linux

package agent

import "time"

// kernelSynced can't be asked here; a machine of this kind has a battery.
func kernelSynced() bool { return true }

func machineBoot() (name string, uptime func() time.Duration) { return processBoot() }
