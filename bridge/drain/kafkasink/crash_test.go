package kafkasink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"cistern/bridge/drain"
	"cistern/gossip/metadata"
	"cistern/gossip/porttest"
)

// thorough asks for the runs that add little each and take long together.
var thorough = os.Getenv("CISTERN_THOROUGH") != ""

var errCrashed = errors.New("crashed")

// crasher ends a gateway at its n-th step: a request about to leave or just
// gone, an answer that has arrived, a write of state about to happen or done.
// From then on nothing of that gateway has any effect.
type crasher struct {
	at   int
	once bool // only the connections break, and only then
	dead chan struct{}

	mu    sync.Mutex
	steps int
	where string
	conns []net.Conn
}

func newCrasher(at int) *crasher { return &crasher{at: at, dead: make(chan struct{})} }

func (c *crasher) step(where string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps++
	if c.steps == c.at {
		c.where = where
		close(c.dead)
		for _, nc := range c.conns {
			nc.Close()
		}
	}
	if c.over() {
		return errCrashed
	}
	return nil
}

// over reports whether steps fail. c.mu is held.
func (c *crasher) over() bool { return c.steps == c.at || !c.once && c.steps > c.at }

func (c *crasher) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.once && c.steps >= c.at {
		nc.Close()
		return nil, errCrashed
	}
	c.conns = append(c.conns, nc)
	return &crashConn{nc, c}, nil
}

type crashConn struct {
	net.Conn
	c *crasher
}

func (n *crashConn) Write(b []byte) (int, error) {
	if err := n.c.step("before a request"); err != nil {
		return 0, err
	}
	k, err := n.Conn.Write(b)
	if err != nil {
		return k, err
	}
	return k, n.c.step("after a request")
}

func (n *crashConn) Read(b []byte) (int, error) {
	k, err := n.Conn.Read(b)
	if err != nil {
		return k, err
	}
	if err := n.c.step("an answer arrived"); err != nil {
		return 0, err
	}
	return k, nil
}

// modes are what every crash, cut and fight is tried in.
var modes = []Mode{ModeSequence, ModeTransaction, ModeAtLeastOnce}

// TestCrashAtEveryStep kills a drainer at each of its steps; a successor goes
// on with the state that survived: without the lazy writes, or with them.
func TestCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		for name, opts := range releases {
			for _, keepLazy := range []bool{false, true} {
				if !thorough && keepLazy == (name == "latest") {
					continue // half of the four combinations
				}
				if !thorough && mode != ModeSequence && keepLazy {
					continue
				}
				t.Run(fmt.Sprintf("%s, %s, lazy kept %v", mode, name, keepLazy), func(t *testing.T) {
					t.Parallel()
					newCentral(t, opts...).as(mode).crashEverywhere(t, mode, keepLazy)
				})
			}
		}
	}
}

func (c *central) crashEverywhere(t *testing.T, mode Mode, keepLazy bool) {
	const together = 8
	points := 0
	for alive := true; alive; points += together {
		var group sync.WaitGroup
		crashed := make([]bool, together)
		for i := range together {
			group.Go(func() { crashed[i] = c.crashOnce(t, mode, points+i+1, keepLazy) })
		}
		group.Wait()
		if t.Failed() {
			return
		}
		alive = crashed[together-1]
	}
	t.Logf("about %d crash points", points-together)
	if points < 40 {
		t.Errorf("only %d crash points: the drainer was not seen at work", points)
	}
}

// crashOnce reports whether the drainer crashed: it has that many steps.
func (c *central) crashOnce(t *testing.T, mode Mode, at int, keepLazy bool) bool {
	stream := c.name("crash")
	c.create(stream, 1)
	// Two local partitions share the upstream one: each counts for itself.
	a, b := newLog(stream, 0).fill(t, 6, 20), newLog(stream, 1).fill(t, 3, 5)
	crash := newCrasher(at)
	state := newState()
	state.step = crash.step
	cfg := setup{state: state}
	cfg.sink.Mode, cfg.sink.Client.Dial = mode, crash.dial
	g := c.gateway(cfg, a, b)
	g.drainedOr(crash.dead, a, b)
	g.stop()

	next := setup{state: state.survive(keepLazy)}
	next.sink.Mode = mode
	after := c.gateway(next, a, b)
	after.drained(a, b)
	after.stop()
	c.expectEach(stream, 0, fmt.Sprintf("crashed at step %d, %s", at, crash.where), a, b)
	select {
	case <-crash.dead:
		return true
	default:
		return false
	}
}

// TestFight lets two drainers drain the same logs with the same state, each
// stalled and cut off at random: the zombie of the other.
func TestFight(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			newCentral(t).as(mode).fight(t, mode)
		})
	}
}

func (c *central) fight(t *testing.T, mode Mode) {
	stream := c.name("fight")
	c.create(stream, 1)
	log := newLog(stream, 0).fill(t, 1, 10)
	state := newState()
	one := setup{state: state}
	one.sink.Mode = mode
	first := c.gateway(one, log)
	first.drained(log) // the producer id is agreed
	first.stop()

	stopCuts := make(chan struct{})
	var group sync.WaitGroup
	var gateways []*gateway
	for i := range 2 {
		var s setup
		n := &stallNet{rng: rand.New(rand.NewPCG(1, uint64(i)))}
		s.state, s.sink.Mode, s.sink.Client.Dial = state, mode, n.dial
		gateways = append(gateways, c.gateway(s, log))
		group.Go(func() {
			for {
				select {
				case <-stopCuts:
					return
				case <-time.After(30 * time.Millisecond):
					n.cut()
				}
			}
		})
	}
	rounds := 100
	if mode == ModeTransaction && !thorough {
		rounds = 30 // each fences the other, which takes turns
	}
	for range rounds {
		log.append(t, 10, metadata.CodecZstd)
		time.Sleep(2 * time.Millisecond) // load, not a wait
	}
	close(stopCuts)
	group.Wait()
	for _, g := range gateways {
		g.drained(log)
		g.stop()
	}
	c.expect(stream, 0, log.id, offsets(0, log.HighWatermark()))
}

// stallNet delays what passes, at random, and cuts connections on demand.
type stallNet struct {
	mu    sync.Mutex
	rng   *rand.Rand
	conns []net.Conn
}

func (n *stallNet) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, nc)
	return &stallConn{nc, n}, nil
}

func (n *stallNet) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, nc := range n.conns {
		nc.Close()
	}
	n.conns = nil
}

func (n *stallNet) stall() {
	n.mu.Lock()
	d := time.Duration(0)
	if n.rng.IntN(4) == 0 {
		d = time.Duration(n.rng.IntN(20)) * time.Millisecond
	}
	n.mu.Unlock()
	time.Sleep(d)
}

type stallConn struct {
	net.Conn
	n *stallNet
}

func (c *stallConn) Write(b []byte) (int, error) { c.n.stall(); return c.Conn.Write(b) }

func (c *stallConn) Read(b []byte) (int, error) { k, err := c.Conn.Read(b); c.n.stall(); return k, err }

// TestBrokerRestart stops the whole cluster and starts it again with its data,
// on the same port, while records come in.
func TestBrokerRestart(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			brokerRestart(t, mode)
		})
	}
}

func brokerRestart(t *testing.T, mode Mode) {
	opts := []kfake.Opt{kfake.Ports(porttest.Number(t)), kfake.DataDir(t.TempDir()), kfake.SyncWrites()}
	c := fakeCentral(t, opts...).as(mode)
	c.create("restart", 1)
	log := newLog("restart", 0).fill(t, 20, 10)
	g := c.gateway(in(mode, nil), log)
	g.drained(log)
	for range 3 {
		log.fill(t, 20, 10)
		c.fake.Close()
		log.fill(t, 20, 10)
		g.until("the uplink is called down", func(s drain.Status) bool { return s.Uplink.State == drain.UplinkDown })
		again, err := kfake.NewCluster(opts...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(again.Close)
		c.fake = again
		g.drained(log)
	}
	g.until("the uplink is called up", func(s drain.Status) bool { return s.Uplink.State == drain.UplinkUp })
	g.stop()
	c.expect("restart", 0, log.id, offsets(0, log.HighWatermark()))
}
