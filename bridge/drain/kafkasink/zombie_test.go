package kafkasink

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// stall is where a drainer is stopped and goes on later, as by SIGSTOP and
// SIGCONT: at the n-th request of a kind, before it leaves or when it has left.
// From there on nothing of it passes until it is released; what it has sent,
// upstream answers.
type stall struct {
	key     kmsg.Key
	nth     int
	after   bool
	stalled chan struct{} // closed when it stands
	resume  chan struct{}

	mu   sync.Mutex
	seen int
}

func newStall(key kmsg.Key, nth int, after bool) *stall {
	return &stall{key: key, nth: nth, after: after, stalled: make(chan struct{}), resume: make(chan struct{})}
}

func (s *stall) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	return &stalledConn{nc, s}, err
}

// wait holds whoever does something while the drainer stands.
func (s *stall) wait() {
	select {
	case <-s.stalled:
		<-s.resume
	default:
	}
}

// isRequest reports whether what is written is a request of a kind.
func isRequest(b []byte, key kmsg.Key) bool {
	return len(b) >= 6 && kmsg.Key(binary.BigEndian.Uint16(b[4:])) == key
}

// here reports whether this request is the one.
func (s *stall) here(request []byte) bool {
	if !isRequest(request, s.key) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen++
	return s.seen == s.nth
}

type stalledConn struct {
	net.Conn
	s *stall
}

func (c *stalledConn) Write(b []byte) (int, error) {
	c.s.wait()
	if !c.s.here(b) {
		return c.Conn.Write(b)
	}
	if !c.s.after {
		close(c.s.stalled)
		<-c.s.resume
		return c.Conn.Write(b)
	}
	// The reader must not pass on what the write is answered with.
	close(c.s.stalled)
	n, err := c.Conn.Write(b)
	<-c.s.resume
	return n, err
}

func (c *stalledConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.s.wait()
	return n, err
}

// TestZombie: a drainer stands still at some step, its successor drains
// everything, and then the first one goes on as if nothing had happened.
func TestZombie(t *testing.T) {
	t.Parallel()
	keys := map[Mode][]kmsg.Key{
		ModeSequence:    {kmsg.InitProducerID, kmsg.Produce},
		ModeAtLeastOnce: {kmsg.Produce},
		ModeTransaction: {kmsg.InitProducerID, kmsg.FindCoordinator, kmsg.OffsetFetch, kmsg.AddPartitionsToTxn, kmsg.Produce,
			kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn},
	}
	for mode, list := range keys {
		for _, key := range list {
			for _, after := range []bool{false, true} {
				for _, nth := range []int{1, 2} {
					t.Run(fmt.Sprintf("%s, %s %d, left %v", mode, key.Name(), nth, after), func(t *testing.T) {
						t.Parallel()
						newCentral(t).as(mode).zombie(t, mode, newStall(key, nth, after))
					})
				}
			}
		}
	}
}

func (c *central) zombie(t *testing.T, mode Mode, s *stall) {
	stream := c.name("zombie")
	c.create(stream, 1)
	log := newLog(stream, 0).fill(t, 2, 10)
	var known setup
	known.sink.Mode = mode
	first := c.gateway(known, log)
	first.drained(log)
	first.stop()
	log.fill(t, 20, 10)

	var one setup
	one.state, one.sink.Mode, one.sink.Client.Dial = first.state, mode, s.dial
	zombie := c.gateway(one, log)
	zombie.drainedOr(s.stalled, log)
	var two setup
	two.state, two.sink.Mode = first.state.survive(true), mode
	successor := c.gateway(two, log)
	successor.drained(log)
	log.fill(t, 3, 10)
	successor.drained(log)
	close(s.resume)
	zombie.drained(log)
	zombie.stop()
	successor.stop()
	c.expect(stream, 0, log.id, offsets(0, log.HighWatermark()))
}
