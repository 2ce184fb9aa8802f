package agent

import (
	"fmt"
	"net"
	"os"
	"time"
)

// notifyMax is how long whoever listens may keep us waiting.
const notifyMax = 5 * time.Second

// notify tells systemd (or whoever set NOTIFY_SOCKET) how far the start or stop
// has come: the protocol of sd_notify(3). Nobody listening is no error.
func notify(state string) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	if socket[0] == '@' { // the abstract namespace
		socket = "\x00" + socket[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(notifyMax)); err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	if _, err := c.Write([]byte(state)); err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	return nil
}
