package card

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"cistern/agent/status"
	"cistern/cross/vm"
	"cistern/cross/vm/nbd"
	"cistern/gossip/port"
)

const (
	// askEvery: the gateway is another machine, there is nothing to wait on.
	askEvery = 100 * time.Millisecond
	// askTime bounds one question: while nobody listens in the machine the
	// emulator takes the connection all the same. One that is busy takes long for TLS.
	askTime = 10 * time.Second
)

// agentRuns is what init says when the agent has said that it is ready.
const agentRuns = "cistern: agent: running"

// Gateway is a board with a card in it.
type Gateway struct {
	Card    *nbd.Card
	Address string // where devices connect
	Client  *status.Client

	board  vm.Board
	dir    string
	server *nbd.Server
	vm     *vm.VM
	boots  int
}

// Options are what a gateway is made of.
type Options struct {
	Image string // is copied
	Bytes int64  // of the card; 0: as large as the image
	// Site is whose key the image has: its configuration is written onto the
	// card. Without one the card stays as it is, and Client is nil.
	Site *Site
	// Uplink is the port on this computer where the gateway finds Kafka.
	Uplink   string
	Forward  map[int]string // nil: free ports
	Watchdog bool
	Append   string    // to the kernel's command line
	Console  io.Writer // may be nil
}

// Insert copies an image to a card, writes the gateway's configuration onto it,
// as an operator would on any laptop, and puts it into a board.
func Insert(ctx context.Context, o Options) (*Gateway, error) {
	// A short name: a unix socket's path may have 107 bytes.
	dir, err := os.MkdirTemp("", "card-")
	if err != nil {
		return nil, err
	}
	g := &Gateway{dir: dir}
	if err := g.insert(ctx, o); err != nil {
		g.Close()
		return nil, fmt.Errorf("card: %w", err)
	}
	return g, nil
}

func (g *Gateway) insert(ctx context.Context, o Options) error {
	file := filepath.Join(g.dir, "card.img")
	if err := copySparse(file, o.Image, o.Bytes); err != nil {
		return err
	}
	forward, err := o.Forward, error(nil)
	if forward == nil {
		if forward, err = vm.FreePorts(MQTTPort, SitePort, HTTPPort); err != nil {
			return err
		}
	}
	g.Address = forward[MQTTPort]
	if o.Site != nil {
		if err := g.introduce(ctx, file, forward[SitePort], o); err != nil {
			return err
		}
	}
	if g.Card, err = nbd.Open(file); err != nil {
		return err
	}
	g.board = vm.Board{Card: g.Card, Dir: g.dir, Append: o.Append, Config: vm.Config{
		Forward: forward, Watchdog: o.Watchdog, Console: o.Console,
	}}
	return nil
}

// introduce tells the gateway what site it is of, and us how to speak to it.
func (g *Gateway) introduce(ctx context.Context, file, address string, o Options) error {
	if err := configure(ctx, file, config(o.Uplink)); err != nil {
		return err
	}
	dialer, err := port.NewDialer(o.Site.Key, "cross-card")
	if err != nil {
		return err
	}
	g.Client = status.NewRemoteClient(address, dialer.Dial)
	return nil
}

// On gives the board its power, and returns when the boot loader has chosen.
func (g *Gateway) On(ctx context.Context) (vm.Boot, error) {
	g.boots++
	var err error
	if g.server, err = nbd.Listen(g.Card, filepath.Join(g.dir, fmt.Sprint("s", g.boots))); err != nil {
		return vm.Boot{}, err
	}
	g.board.Config.Disk = g.server.Address()
	v, boot, err := g.board.On(ctx)
	if err != nil {
		return boot, errors.Join(err, g.server.Close())
	}
	g.vm = v
	return boot, nil
}

// VM is the machine since it was last switched on.
func (g *Gateway) VM() *vm.VM { return g.vm }

// Ready returns when the agent is ready, as init says on the console, and
// answers to who has the site's key.
func (g *Gateway) Ready(ctx context.Context) error {
	if _, err := g.vm.Await(ctx, agentRuns); err != nil || g.Client == nil {
		return err
	}
	return g.Await(ctx, func(*status.Document) bool { return true })
}

// Await returns when the agent's status is as wanted.
func (g *Gateway) Await(ctx context.Context, wanted func(*status.Document) bool) error {
	var last error
	for {
		d, err := g.ask(ctx)
		if err == nil && wanted(d) {
			return nil
		}
		last = err
		select {
		case <-time.After(askEvery):
		case <-g.vm.Ended():
			return fmt.Errorf("the machine ended: %s\n%s", g.vm.How(), g.vm.Tail())
		case <-ctx.Done():
			return fmt.Errorf("the gateway is not as it should be: %w; %w\n%s", context.Cause(ctx), last, g.vm.Tail())
		}
	}
}

func (g *Gateway) ask(ctx context.Context) (*status.Document, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return g.Client.Status(ctx)
}

// CutPower takes the power away now, of card and machine.
func (g *Gateway) CutPower(seed uint64) (nbd.Cut, error) {
	g.Card.PowerCut(seed)
	return g.afterCut()
}

// AwaitCut returns when the card's power is away (see nbd.Card.CutAfter), and
// the machine's.
func (g *Gateway) AwaitCut(ctx context.Context) (nbd.Cut, error) {
	select {
	case <-g.Card.Gone():
		return g.afterCut()
	case <-g.vm.Ended():
		return nbd.Cut{}, fmt.Errorf("the machine ended before its power was cut: %s\n%s", g.vm.How(), g.vm.Tail())
	case <-ctx.Done():
		return nbd.Cut{}, fmt.Errorf("the card was not written to until the cut was due: %w\n%s", context.Cause(ctx), g.vm.Tail())
	}
}

func (g *Gateway) afterCut() (nbd.Cut, error) {
	g.vm.Kill()
	err := g.server.Close()
	return g.Card.Restore(), err
}

// AwaitEnd returns how the machine ended by itself. Its card keeps its power.
func (g *Gateway) AwaitEnd(ctx context.Context) (vm.End, error) {
	end, err := g.vm.AwaitEnd(ctx)
	if err != nil {
		return end, err
	}
	return end, errors.Join(g.server.Close(), g.Card.Settle())
}

// Close ends the machine and throws the card away.
func (g *Gateway) Close() {
	if g.vm != nil {
		g.vm.Kill()
	}
	if g.server != nil {
		_ = g.server.Close()
	}
	if g.Card != nil {
		_ = g.Card.Close()
	}
	_ = os.RemoveAll(g.dir)
}
