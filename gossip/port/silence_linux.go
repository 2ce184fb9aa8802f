package port

import (
	"net"

	"golang.org/x/sys/unix"
)

// limitSilence bounds how long sent data may stay unacknowledged. Without it
// Linux retransmits for a quarter of an hour, and keep-alives wait meanwhile.
// A connection that can't be tuned works all the same.
func limitSilence(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(SilenceMax.Milliseconds()))
	})
}
