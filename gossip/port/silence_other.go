//go:build !linux

package port

import "net"

// limitSilence has no counterpart here: keep-alives alone have to notice.
func limitSilence(*net.TCPConn) {}
