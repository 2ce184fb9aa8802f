package gossip

import (
	"fmt"
	"time"
)

// State is what a gateway thinks of another's liveness.
type State uint8

const (
	Alive   State = iota
	Suspect       // could not be reached directly from here, not given up
	Dead          // given up: crashed, cut off, or without power
	Left          // said goodbye
)

// String returns the word that status and logs use.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

var stateNames = [...]string{"alive", "suspect", "dead", "left"}

// Present reports whether the member is believed to run.
func (s State) Present() bool { return s == Alive || s == Suspect }

// Member is one gateway as this one sees it.
type Member struct {
	Name  string
	Addr  string // host:port of its gossip
	State State
	Since time.Time // that it has been in State; of the monotonic clock, too
	Meta  Meta      // as last heard
}

// Conflict is two gateways with one name. The site goes on with the first and
// does not see the second: an operator has to rename it.
type Conflict struct {
	Name  string
	Addr  string // of the one that has the name
	Other string // of the one that claims it as well
	At    time.Time
}
