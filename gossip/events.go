package gossip

import (
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"

	"cistern/gossip/sitekey"
)

// events is what memberlist calls, mostly under its lock: copy and return.
type events struct{ m *Membership }

func addrOf(n *memberlist.Node) string {
	return net.JoinHostPort(n.Addr.String(), strconv.Itoa(int(n.Port)))
}

// NotifyJoin tells of a member that is new, or alive again.
func (e events) NotifyJoin(n *memberlist.Node) { e.NotifyUpdate(n) }

// NotifyUpdate tells of a member that says something new about itself.
func (e events) NotifyUpdate(n *memberlist.Node) {
	if n.Name != e.m.roster.self {
		e.m.roster.alive(n.Name, addrOf(n), decodeMeta(n.Meta))
	}
}

// NotifyLeave tells of a member that is dead or has left; which of them, only
// the roster knows.
func (e events) NotifyLeave(n *memberlist.Node) {
	if n.Name != e.m.roster.self {
		e.m.roster.gone(n.Name)
	}
}

// NotifyAlive may refuse a member, which then is not there.
func (e events) NotifyAlive(n *memberlist.Node) error {
	if err := sitekey.CheckName(n.Name); err != nil {
		return err
	}
	return e.m.roster.admits(n.Name)
}

// NotifyConflict tells of two gateways with one name.
func (e events) NotifyConflict(existing, other *memberlist.Node) {
	e.m.roster.clash(existing.Name, addrOf(existing), addrOf(other))
}

// NotifyPingComplete tells of a member that answered a packet.
func (e events) NotifyPingComplete(n *memberlist.Node, _ time.Duration, mark []byte) {
	e.m.roster.reached(n.Name, true)
	e.m.processes.saw(n.Name, addrOf(n), mark)
}

// AckPayload says which process answers.
func (e events) AckPayload() []byte { return e.m.processes.own[:] }

// NotifyMsg, GetBroadcasts, LocalState and MergeRemoteState are for
// messages of the application's own, of which there are none.
func (events) NotifyMsg([]byte)                {}
func (events) GetBroadcasts(int, int) [][]byte { return nil }
func (events) LocalState(bool) []byte          { return nil }
func (events) MergeRemoteState([]byte, bool)   {}

// NodeMeta returns what this gateway says about itself.
func (e events) NodeMeta(int) []byte {
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	return e.m.encoded
}
