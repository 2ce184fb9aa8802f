package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cistern/agent/status"
)

// formTimeout is for gateways that have to find each other on a busy machine.
const formTimeout = 60 * time.Second

// StartMembers starts a site of n gateways with one key, each at a loopback
// address of its own, and returns when every one has everything: the site is
// formed and every copy in sync. more is TOML for each of them.
func StartMembers(ctx context.Context, p Programs, n int, more string) (*Site, error) {
	s := &Site{}
	err := s.startCentre(p)
	if err == nil {
		err = s.startMembers(ctx, p, n, more)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Site) startMembers(ctx context.Context, p Programs, n int, more string) error {
	if out, err := command(p.Cistern, "site", "init", "--key", s.key()); err != nil {
		return fmt.Errorf("cistern site init: %w\n%s", err, out)
	}
	for number := range min(joinMax, n) {
		meet, err := freeAddress(host(number + 1))
		if err != nil {
			return err
		}
		s.meet = append(s.meet, meet)
	}
	for range n {
		if _, err := s.AddMember(p, n, more); err != nil {
			return err
		}
	}
	for _, g := range s.Gateways {
		if err := g.Start(ctx); err != nil {
			return fmt.Errorf("starting %s: %w", g.Name, err)
		}
	}
	return s.AwaitInSync(ctx)
}

// joinMax is how many gateways each one is told of.
const joinMax = 3

// host is the address of a site's gateway, which counts from 1.
func host(number int) string { return fmt.Sprintf("127.0.0.%d", 10+number) }

func (s *Site) key() string { return filepath.Join(s.dir, "site.key") }

// AddMember makes one more gateway of the site, without starting it. expect is
// its bootstrap_expect; all join by way of the first three, these too when they
// come back.
func (s *Site) AddMember(p Programs, expect int, more string) (*Gateway, error) {
	number := len(s.Gateways) + 1
	host := host(number)
	dir := filepath.Join(s.dir, fmt.Sprint(number))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	gossip := ""
	if number <= len(s.meet) {
		gossip = s.meet[number-1]
	} else {
		var err error
		if gossip, err = freeAddress(host); err != nil {
			return nil, err
		}
	}
	listen, err := freeAddress(host)
	if err != nil {
		return nil, err
	}
	join := make([]string, len(s.meet))
	for i, meet := range s.meet {
		join[i] = strconv.Quote(meet)
	}
	site := fmt.Sprintf("\n[site]\nkey_file = %q\ngossip = %q\nlisten = %q\njoin = [%s]\nbootstrap_expect = %d\nprofile = \"wired\"\n",
		s.key(), gossip, listen, strings.Join(join, ", "), expect)
	g, err := newGateway(p.Cistern, fmt.Sprintf("gateway-%d", number), host, dir, filepath.Join(dir, "data"), s.Uplink.Address(), more+site)
	if err != nil {
		return nil, err
	}
	if s.Gateways = append(s.Gateways, g); number == 1 {
		s.Gateway = g
	}
	return g, nil
}

// AwaitInSync returns when every running gateway knows of streams, all of which
// have a leader and every copy in sync, and lets devices in. What one remembers of
// its life before is not believed: it has to be registered in this one, and to hear
// of the quorum.
func (s *Site) AwaitInSync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, formTimeout)
	defer cancel()
	for _, g := range s.Gateways {
		if err := g.AwaitStatus(ctx, func(d *status.Document) bool { return inSync(d) && g.isRegistered(d) }); err != nil {
			return fmt.Errorf("%s: the copies are not in sync: %w", g.Name, err)
		}
	}
	return nil
}

func inSync(d *status.Document) bool {
	if d.Site == nil || len(d.Streams) == 0 || len(d.MQTT.Listeners) == 0 {
		return false
	}
	for _, st := range d.Streams {
		for i := range st.Partitions {
			if p := &st.Partitions[i]; p.Leader == "" || p.UnderReplicated {
				return false
			}
		}
	}
	return true
}

// begin forgets what was seen of the process before, but for who it was.
func (g *Gateway) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.former = g.now
}

func (g *Gateway) see(d *status.Document) {
	if now, ok := lifeIn(d); ok {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.now = now
	}
}

// isRegistered tells whether the site knows this life of the gateway, by its own word:
// a gateway that has just started shows what lies on its flash.
func (g *Gateway) isRegistered(d *status.Document) bool {
	now, ok := lifeIn(d)
	g.mu.Lock()
	defer g.mu.Unlock()
	return ok && now != g.former && d.Site.Quorum.HasQuorum && !d.Site.Self().Fenced
}

// lifeIn is who a gateway says it is, false when it is not registered.
func lifeIn(d *status.Document) (life, bool) {
	if d.Site == nil {
		return life{}, false
	}
	m := d.Site.Self()
	if m == nil || m.ID == 0 || m.Incarnation == 0 {
		return life{}, false
	}
	return life{m.ID, m.Incarnation}, true
}

// AwaitStatus returns when the gateway's status is as wanted. A gateway that
// does not run is left out.
func (g *Gateway) AwaitStatus(ctx context.Context, wanted func(*status.Document) bool) error {
	var last *status.Document
	for g.Running() {
		if d, err := g.Status(ctx); err == nil {
			if last = d; wanted(d) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last status: %s\n%s", ctx.Err(), brief(last), g.process.Output())
		case <-time.After(10 * time.Millisecond): // another process: nothing to wait on
		}
	}
	return nil
}

// Running reports whether the gateway was started and has not ended.
func (g *Gateway) Running() bool {
	if g.process == nil {
		return false
	}
	select {
	case <-g.process.Exited():
		return false
	default:
		return true
	}
}

// Leads returns how many partitions each gateway leads, as this one sees it.
func (g *Gateway) Leads(ctx context.Context) (map[string]int, error) {
	d, err := g.Status(ctx)
	if err != nil {
		return nil, err
	}
	leads := map[string]int{}
	for _, st := range d.Streams {
		for _, p := range st.Partitions {
			leads[p.Leader]++
		}
	}
	return leads, nil
}

// Leader returns the gateway that leads most partitions.
func (s *Site) Leader(ctx context.Context) (*Gateway, error) {
	var most *Gateway
	best := 0
	for _, asked := range s.Gateways {
		if !asked.Running() {
			continue
		}
		leads, err := asked.Leads(ctx)
		if err != nil {
			continue
		}
		for _, g := range s.Gateways {
			if n := leads[g.Name]; n > best {
				most, best = g, n
			}
		}
		if most != nil {
			return most, nil
		}
	}
	return nil, fmt.Errorf("nobody leads anything")
}
