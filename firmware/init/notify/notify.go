// Package notify is the receiving side of sd_notify(3): how the agent tells the
// init that it has started, that it is alive, and that it stops.
package notify

import (
	"bytes"
	"errors"
	"fmt"
)

// Message is what one datagram says. What we have no use for is left out.
type Message struct {
	Ready    bool
	Alive    bool // WATCHDOG=1
	Stopping bool
}

// messageBytesMax bounds a datagram; ours have 20 bytes.
const messageBytesMax = 4096

// ErrMessage is found in the error of a datagram that is none of the protocol's.
var ErrMessage = errors.New("no message of sd_notify")

// Parse reads one datagram: lines of NAME=value.
func Parse(datagram []byte) (Message, error) {
	var m Message
	if len(datagram) == 0 || len(datagram) > messageBytesMax {
		return m, fmt.Errorf("%d bytes: %w", len(datagram), ErrMessage)
	}
	for line := range bytes.SplitSeq(datagram, []byte("\n")) {
		name, _, found := bytes.Cut(line, []byte("="))
		switch {
		case len(line) == 0:
		case !found || len(name) == 0:
			return Message{}, fmt.Errorf("%.40q: %w", line, ErrMessage)
		case string(line) == "READY=1":
			m.Ready = true
		case string(line) == "WATCHDOG=1":
			m.Alive = true
		case string(line) == "STOPPING=1":
			m.Stopping = true
		}
	}
	return m, nil
}
