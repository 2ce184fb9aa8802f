package quorum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"cistern/gossip/port"
)

// Protocols on the site port.
const (
	ProtocolRaft   = "cistern-raft"   // between the raft libraries
	ProtocolQuorum = "cistern-quorum" // changes on their way to the raft leader, and invitations
)

// Limits of one gateway's quorum.
const (
	ChangeBytesMax   = 256 << 10 // one change, encoded
	frameBytesMax    = ChangeBytesMax + 4<<10
	snapshotBytesMax = 64 << 20 // the whole metadata of a site, encoded
	proposalsMax     = 128      // changes under way at this gateway, its own and forwarded ones
	connsMax         = 128      // inbound connections of ProtocolQuorum
	connRequestsMax  = 32       // requests under way on one of them
	snapshotsRetain  = 2
	trailingLogs     = 256 // entries kept behind a snapshot, so that a short absence costs no snapshot
	snapshotEvery    = 512 // entries between snapshots
	logCache         = 256 // entries kept in memory for followers that are nearly up to date

	forwardTimeoutMax = 30 * time.Second // a forwarded change waits no longer at the leader
	requestTimeout    = 2 * time.Second  // an invitation or a question to a peer
	dialTimeout       = 2 * time.Second
	connIdle          = 30 * time.Second // then the asking side dials anew
	connIdleServer    = 2 * connIdle     // later than the other side, so that no request meets a closing connection
)

// stopLimits say when a stop goes on, whatever is not done by then. All count from
// the order to stop.
type stopLimits struct {
	handOver time.Duration // with a successor
	settle   time.Duration // with the changes that are under way
	end      time.Duration // with raft, which forgets its futures now and then
}

// The whole stop has to end before the agent leaves this part behind.
var defaultStop = stopLimits{3 * time.Second, 5 * time.Second, 7 * time.Second}

// ErrNotEnded is what Run returns when raft did not end in time. Nothing is lost by
// that: all that was agreed on is on flash. But the file stays locked, and Config.Dir
// can't be opened again, until the process ends.
var ErrNotEnded = errors.New("raft did not end and keeps its file locked")

// Why a proposal has no result.
var (
	// ErrUnknownFate says that the change may have been made or not. Look at
	// the image, or propose again what may be made twice.
	ErrUnknownFate = errors.New("the fate of the change is unknown")
	// ErrNoLeader says that the change was not made: no raft leader was found in time.
	ErrNoLeader = errors.New("the site has no raft leader")
	// ErrTooLarge says that the change was not made and never will be.
	ErrTooLarge = errors.New("the change is too large")
	// ErrStopped says that the change was not made because this gateway stops.
	ErrStopped = errors.New("the quorum is stopped")
)

// errNotLeader says that a change was certainly not made, because this gateway
// is not (or no longer) the raft leader.
var errNotLeader = errors.New("not the raft leader")

// Port is how gateways reach each other; *port.Port is one.
type Port interface {
	Listener(protocol string) net.Listener
	Dial(ctx context.Context, addr, protocol string) (net.Conn, error)
}

// Profile holds what depends on the network between the gateways.
type Profile struct {
	Heartbeat time.Duration // silence of the raft leader after which others stand for election
	Election  time.Duration // how long a candidate waits for votes
	Lease     time.Duration // the raft leader steps down when no majority answered for so long
	Commit    time.Duration // an idle leader repeats what is committed within twice this; see teller
	RPC       time.Duration // one request between raft libraries, a follower's slow fsync included
	Rank      time.Duration // head start of one candidate over the next after Suspect
}

// Wired is for gateways on a cable. Raft sends heartbeats 10 to 20 times within
// Heartbeat, and these are most of what an idle site costs. A shorter one would gain
// nothing: gossip needs 0.8 to 1 s to know which gateway fell silent.
func Wired() Profile {
	return Profile{Heartbeat: 500 * time.Millisecond, Election: 500 * time.Millisecond, Lease: 400 * time.Millisecond,
		Commit: 500 * time.Millisecond, RPC: 3 * time.Second, Rank: 80 * time.Millisecond}
}

// Wifi bears the pauses of a radio link.
func Wifi() Profile {
	return Profile{Heartbeat: 600 * time.Millisecond, Election: 600 * time.Millisecond, Lease: 400 * time.Millisecond,
		Commit: 500 * time.Millisecond, RPC: 5 * time.Second, Rank: 150 * time.Millisecond}
}

// Config says who this gateway is and where its quorum lives.
type Config struct {
	Dir     string // holds raft.db
	Name    string // of this gateway: unique on the site, for ever
	Address string // host:port of its site port, as the others reach it
	Port    Port
	Profile Profile
	Logger  *slog.Logger
	// PeerName returns the name in the certificate at the other end of a
	// connection, so that a gateway that took over another's address is not
	// taken for it. Nil: port.PeerName.
	PeerName func(net.Conn) string

	stop stopLimits // zero: defaultStop; tests are more patient
}

func (c *Config) validate() error {
	switch {
	case c.Dir == "" || c.Name == "" || c.Address == "":
		return fmt.Errorf("quorum: dir (%q), name (%q) and address (%q) are needed", c.Dir, c.Name, c.Address)
	case c.Port == nil:
		return errors.New("quorum: no port")
	}
	if c.Profile == (Profile{}) {
		c.Profile = Wired()
	}
	if c.PeerName == nil {
		c.PeerName = port.PeerName
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.stop == (stopLimits{}) {
		c.stop = defaultStop
	}
	return nil
}

// Server is a gateway as raft knows it.
type Server struct {
	Name    string
	Address string
	Voter   bool
}
