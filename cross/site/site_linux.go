package site

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cistern/agent/status"
	"cistern/cross/rig"
	"cistern/gossip/metadata"
)

// Where everything listens, each in a namespace of its own.
const (
	mqttPort   = "1883"
	gossipPort = "7610"
	sitePort   = "7611"
	kafkaPort  = "9092"
)

// partitions of the stream: more than gateways, so that each leads some.
const partitions = 6

// dialTimeout bounds a device's call to a gateway that is silent.
const dialTimeout = time.Second

// Site is gateways on a network, the centre, and devices' books.
type Site struct {
	*rig.Site
	Net      *Network
	World    *Host // where devices are, and the uplink ends
	Modem    *Host // where the uplink ends when it can be cut apart from devices; else nil
	Valve    *Valve
	Gateways []*Gateway
	Ledger   *rig.Ledger

	programs rig.Programs
	dir      string
	more     string // TOML for every gateway, before its section [site]
	fleets   int    // started so far
	oneWay   bool   // a gateway's file names only those before it
	apart    bool   // the uplink ends at Modem
	dry      string // the gateway that has no uplink in its file
	uplink   string // TOML for the uplink of every other
	member   string // TOML for the end of everybody's section [site]
	stay     string // rebalance_after; "" is the least that is allowed
}

// start makes a site of n gateways, of which s says how they are to be, and returns
// when it is formed and every copy in sync.
func start(ctx context.Context, p rig.Programs, n int, s *Site) (*Site, error) {
	err := s.prepare(p)
	for range n {
		if err == nil {
			_, err = s.Add(n, s.member)
		}
	}
	for _, g := range s.Gateways {
		if err == nil {
			err = g.Start(ctx)
		}
	}
	if err == nil {
		err = s.AwaitInSync(ctx)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// prepare makes all but gateways: the books, the network, the world, the centre, the key.
func (s *Site) prepare(p rig.Programs) (err error) {
	s.Site, s.Ledger, s.programs = &rig.Site{}, rig.NewLedger(), p
	if s.dir, err = os.MkdirTemp("", "cistern-"); err != nil {
		return err
	}
	if s.Net, err = NewNetwork(); err != nil {
		return err
	}
	if s.World, err = s.Net.Host("world"); err != nil {
		return err
	}
	end := s.World
	if s.apart {
		if s.Modem, err = s.Net.Far("modem"); err != nil {
			return err
		}
		end = s.Modem
	}
	l, err := end.listen(net.JoinHostPort(end.IP, kafkaPort))
	if err != nil {
		return err
	}
	s.Valve = &Valve{Listener: l}
	s.Uplink = rig.NewUplinkOn(s.Valve)
	s.Centre = rig.NewCentre(s.programs.Centre, filepath.Join(s.dir, "centre"), s.Uplink.Address())
	if err := s.Centre.Start(); err != nil {
		return err
	}
	s.Uplink.Mend(s.Centre.Address())
	return run("", s.programs.Cistern, "site", "init", "--key", s.key())
}

func (s *Site) key() string { return filepath.Join(s.dir, "site.key") }

// Add makes one more gateway, without starting it. more is TOML that goes to the
// end of its section [site].
func (s *Site) Add(expect int, more string) (*Gateway, error) {
	name := fmt.Sprintf("gateway-%d", len(s.Gateways)+1)
	h, err := s.Net.Host(name)
	if err != nil {
		return nil, err
	}
	g := &Gateway{Host: h, dir: filepath.Join(s.dir, name)}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, err
	}
	var join []string // the same for everyone, as one would write it on machines
	for number := range min(3, expect) {
		if s.oneWay && number+2 >= h.number {
			break
		}
		join = append(join, fmt.Sprintf("%q", net.JoinHostPort(address(number+2), gossipPort)))
	}
	toml := fmt.Sprintf(`%s
[site]
key_file = %q
gossip = "%s:%s"
listen = "%s:%s"
join = [%s]
bootstrap_expect = %d
profile = "wired"
replace_after = "1m"
rebalance_after = %q
%s
`, s.more, s.key(), h.IP, gossipPort, h.IP, sitePort, strings.Join(join, ", "), expect, cmp.Or(s.stay, "10s"), more)
	uplink := ""
	if name != s.dry {
		uplink, toml = s.Uplink.Address(), s.uplink+toml
	}
	g.Gateway, err = rig.NewGatewayAt(s.programs.Cistern, name, net.JoinHostPort(h.IP, mqttPort), g.dir, filepath.Join(g.dir, "data"), uplink, toml)
	if err != nil {
		return nil, err
	}
	g.Within = h.within()
	s.Gateways = append(s.Gateways, g)
	s.Site.Gateways = append(s.Site.Gateways, g.Gateway)
	return g, nil
}

// Stream is TOML for the stream that everything goes to.
func Stream(replicas, minInsync int) string {
	return fmt.Sprintf("[storage]\nmax_bytes = \"512MiB\"\nsegment_bytes = \"4MiB\"\n\n[[stream]]\nname = %q\npartitions = %d\nreplicas = %d\nmin_insync = %d\n",
		metadata.DefaultStream, partitions, replicas, minInsync)
}

// Close ends every process and removes every folder and namespace.
func (s *Site) Close() {
	for _, g := range s.Gateways {
		g.Kill() // SIGSTOP does not keep a process from being killed
	}
	if s.Uplink != nil {
		s.Uplink.Close()
	}
	if s.Centre != nil {
		s.Centre.Kill()
	}
	if s.Net != nil {
		s.Net.Close()
	}
	_ = os.RemoveAll(s.dir)
}

// Others returns all gateways but these.
func (s *Site) Others(but ...*Gateway) (others []*Gateway) {
	for _, g := range s.Gateways {
		if !contains(but, g) {
			others = append(others, g)
		}
	}
	return others
}

func contains(all []*Gateway, g *Gateway) bool {
	for _, one := range all {
		if one == g {
			return true
		}
	}
	return false
}

// Seen is the site as one running gateway sees it.
func (s *Site) Seen(ctx context.Context) (*status.Document, error) {
	var failed error
	for _, g := range s.Gateways {
		if !g.Running() || g.stopped {
			continue
		}
		d, err := g.seen(ctx)
		if err == nil && len(d.Streams) > 0 {
			return d, nil
		}
		failed = err
	}
	return nil, fmt.Errorf("no gateway says how the site is: %w", failed)
}

// Leader returns the gateway that leads most partitions, as another sees it.
func (s *Site) Leader(ctx context.Context) (*Gateway, error) {
	leader, err := s.Site.Leader(ctx)
	for _, g := range s.Gateways {
		if err == nil && g.Gateway == leader {
			return g, nil
		}
	}
	return nil, err
}

// Partitions are the stream's, as seen by one gateway.
func Partitions(d *status.Document) []status.Partition {
	for _, st := range d.Streams {
		if st.Name == metadata.DefaultStream {
			return st.Partitions
		}
	}
	return nil
}

// Elections is how often leaderships have changed since the site was formed, as
// a running gateway knows it.
func (s *Site) Elections(ctx context.Context) (n int64, err error) {
	d, err := s.Seen(ctx)
	if err != nil {
		return 0, err
	}
	return changes(d), nil
}

// changes is the same as one document has it.
func changes(d *status.Document) (n int64) {
	for _, p := range Partitions(d) {
		n += int64(p.LeaderEpoch)
	}
	return n
}
