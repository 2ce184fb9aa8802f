package quorum

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"cistern/gossip"
	"cistern/gossip/controller"
	"cistern/gossip/metadata"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(m.Run())
	}
	flag.Set("test.parallel", "8") // they wait most of the time
	before := len(running())
	code := m.Run()
	for end := time.Now().Add(patience); code == 0 && len(running()) > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			fmt.Fprintf(os.Stderr, "goroutines were left:\n%s\n", strings.Join(running(), "\n\n"))
			code = 1
		}
	}
	os.Exit(code)
}

// running are the stacks of all goroutines but those that wait for what raft forgot.
func running() []string {
	b := make([]byte, 8<<20)
	all := strings.Split(string(b[:runtime.Stack(b, true)]), "\n\n")
	return slices.DeleteFunc(all, func(stack string) bool {
		return strings.Contains(stack, "quorum.(*Quorum).await.func") || strings.Contains(stack, "quorum.(*Quorum).applyHere.func")
	})
}

// patientStop is for stops after which the folder is opened again.
var patientStop = stopLimits{defaultStop.handOver, defaultStop.settle, patience}

// site is some gateways in one process, with a gossip that the test controls.
type site struct {
	t      testing.TB
	net    *network
	nodes  map[string]*node
	expect int
	policy controller.Policy
	commit time.Duration // Profile.Commit, 0: as it is
	rank   time.Duration // Profile.Rank, 0: as it is
	stop   stopLimits

	applying func() // nil, or called by the state machine for each change

	mu      sync.Mutex
	members map[string]gossip.Member
	events  watchers
}

type node struct {
	site       *site
	name, addr string
	dir        string
	port       *fakePort
	q          *Quorum
	cancel     func()
	done       chan struct{}
	err        error // of Run, after done
}

func newSite(t testing.TB, expect int) *site {
	s := &site{t: t, net: newNetwork(), nodes: map[string]*node{}, expect: expect, policy: controller.DefaultPolicy(),
		members: map[string]gossip.Member{}, stop: patientStop}
	t.Cleanup(func() {
		var wg sync.WaitGroup
		for _, n := range s.nodes {
			wg.Go(n.stop)
		}
		wg.Wait()
	})
	return s
}

func (s *site) list() (list []gossip.Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		list = append(list, m)
	}
	return list
}

// set changes what gossip says about a gateway.
func (s *site) set(name string, fn func(m *gossip.Member)) {
	s.mu.Lock()
	m, ok := s.members[name]
	if !ok {
		m = gossip.Member{Name: name, Since: time.Now()}
	}
	state := m.State
	fn(&m)
	if m.State != state {
		m.Since = time.Now()
	}
	s.members[name] = m
	s.mu.Unlock()
	s.events.wake()
}

// start starts n gateways at once.
func (s *site) start(names ...string) {
	for _, name := range names {
		s.boot(name, name+":9000", s.t.TempDir())
	}
}

func (s *site) boot(name, addr, dir string) *node {
	s.t.Helper()
	n := &node{site: s, name: name, addr: addr, dir: dir, port: s.net.listen(s.t, name, addr), done: make(chan struct{})}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("QUORUM_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("at", name)
	}
	profile := Wired()
	profile.Commit, profile.Rank = max(profile.Commit, s.commit), max(profile.Rank, s.rank)
	q, err := Open(Config{Dir: dir, Name: name, Address: addr, Port: n.port, PeerName: fakePeerName, Profile: profile, Logger: log, stop: s.stop})
	if err != nil {
		s.t.Fatal(err)
	}
	n.q = q
	if told := q.machine.applied; s.applying != nil {
		q.machine.applied = func(l *raft.Log) { s.applying(); told(l) }
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	s.set(name, func(m *gossip.Member) {
		m.State, m.Meta = gossip.Alive, gossip.Meta{Address: addr, Expect: s.expect, Formed: q.Site()}
	})
	k := &Keeper{Quorum: q, Members: s.list, Changed: s.events.watch, Expect: s.expect, Policy: s.policy,
		OnSite: func(site string) { s.set(name, func(m *gossip.Member) { m.Meta.Formed = site }) }}
	var wg sync.WaitGroup
	wg.Go(func() { n.err = q.Run(ctx) })
	wg.Go(func() { k.Run(ctx) })
	wg.Go(func() { n.register(ctx) })
	go func() {
		wg.Wait()
		close(n.done)
	}()
	s.nodes[name] = n
	return n
}

// register does what the agent does at its start.
func (n *node) register(ctx context.Context) {
	for ctx.Err() == nil {
		once, cancel := context.WithTimeout(ctx, 5*time.Second)
		r, err := n.q.Propose(once, metadata.Change{Register: &metadata.Register{Name: n.name, Address: n.addr, Weight: 1,
			StoreID: n.name, StoreIncarnation: uint64(time.Now().UnixNano())}})
		cancel()
		if err == nil && r.Err() == nil {
			n.site.set(n.name, func(m *gossip.Member) { m.Meta.Incarnation = r.Incarnation })
			return
		}
	}
}

// stop ends a gateway as a clean stop does.
func (n *node) stop() {
	n.cancel()
	<-n.done
	if n.port != nil {
		n.port.kill()
	}
}

// crash ends it without a word, as far as the others can see.
func (n *node) crash() {
	n.port.kill()
	n.cancel()
	<-n.done
}

// await waits until cond holds; it looks whenever something changed anywhere.
func (s *site) await(what string, cond func() bool) {
	s.t.Helper()
	events, end := s.events.watch()
	defer end()
	cases := []<-chan struct{}{events}
	for _, n := range s.nodes {
		ch, end := n.q.Watch()
		defer end()
		cases = append(cases, ch)
	}
	merged, stop := make(chan struct{}, 1), make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	for _, ch := range cases {
		wg.Go(func() {
			for {
				select {
				case <-ch:
					select {
					case merged <- struct{}{}:
					default:
					}
				case <-stop:
					return
				}
			}
		})
	}
	limit := time.After(patience)
	poll := time.NewTicker(50 * time.Millisecond) // raft's servers change without a word
	defer poll.Stop()
	for !cond() {
		select {
		case <-merged:
		case <-poll.C:
		case <-limit:
			for _, name := range slices.Sorted(maps.Keys(s.nodes)) {
				s.t.Logf("%s: %+v", name, s.nodes[name].q.Status())
			}
			s.t.Fatalf("never came: %s", what)
		}
	}
}

// term is the latest that any gateway here has heard of.
func (s *site) term() (term uint64) {
	for _, n := range s.nodes {
		term = max(term, n.q.Status().Term)
	}
	return term
}

// leader waits for a raft leader that a majority of those here follows.
func (s *site) leader(among ...string) (leader string) {
	s.t.Helper()
	if len(among) == 0 {
		among = slices.Collect(maps.Keys(s.nodes))
	}
	s.await("a raft leader that all agree on", func() bool {
		leader, _ = s.nodes[among[0]].q.Leader()
		for _, name := range among {
			if l, _ := s.nodes[name].q.Leader(); l != leader {
				return false
			}
		}
		return leader != "" && slices.Contains(among, leader)
	})
	return leader
}

// formed waits until all are members and have the same view of it.
func (s *site) formed(names ...string) {
	s.t.Helper()
	s.await(fmt.Sprintf("a site of %v", names), func() bool {
		id := s.nodes[names[0]].q.Image().Site
		for _, name := range names {
			img := s.nodes[name].q.Image()
			if img.Site == "" || img.Site != id || len(img.Members) != len(names) {
				return false
			}
		}
		return true
	})
}

// propose makes a change through a gateway and fails the test if it wasn't made.
// An election in between leaves its fate open; then it is proposed again, and
// may be refused because it was made.
func (s *site) propose(via string, c metadata.Change) metadata.Result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for again := false; ; again = true {
		r, err := s.nodes[via].q.Propose(ctx, c)
		switch {
		case errors.Is(err, ErrUnknownFate) && ctx.Err() == nil:
			continue
		case err == nil && !again:
			err = r.Err()
		}
		if err != nil {
			s.t.Fatalf("proposed through %s: %v", via, err)
		}
		return r
	}
}

func putStream(name string) metadata.Change {
	return metadata.Change{PutStream: &metadata.PutStream{Config: metadata.DefaultStreamConfig(name)}}
}

func (s *site) hasStream(on, name string) bool { return s.nodes[on].q.Image().Streams[name] != nil }
