package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cistern/gossip/metadata"
)

// Limits of remembering boots.
const (
	bootsMax      = 32 // of this machine in which records were marked; the oldest goes first
	bootNameLen   = 32 // hexadecimal digits
	clockInterval = time.Second
	tellInterval  = 10 * time.Second // between attempts to tell the site
	clocksKey     = "clock/boots"    // in the store's State
)

// clocks remembers when this machine was started, for those of its boots in which
// records were taken before the clock was set: these can be drained after many
// more boots, and by another gateway.
//
// What is stored is as little as can be. A boot in which the clock was there
// before the first record leaves nothing behind.
type clocks struct {
	clock *clock
	state bootState
	site  bootSite // nil for a gateway on its own
	log   *slog.Logger

	mu    sync.Mutex
	boots []boot // oldest first

	said   string    // why something is not remembered yet, logged last; run's
	tellAt time.Time // not before; run's
}

// bootState is where boots are kept: the store's State.
type bootState interface {
	Get(key string) []byte
	PutSync(key string, value []byte) error
}

// bootSite is the site as far as clocks need it.
type bootSite interface {
	// bootAt is when a boot of any gateway began, in ms since 1970.
	bootAt(name string) (int64, bool)
	// tellBoot makes the site know one.
	tellBoot(ctx context.Context, name string, at int64) error
}

// boot is one start of this machine.
type boot struct {
	name string
	at   int64 // ms since 1970, 0: not known yet
	told bool  // the site has known it
}

func openClocks(c *clock, state bootState, site bootSite, log *slog.Logger) *clocks {
	return &clocks{clock: c, state: state, site: site, log: log, boots: decodeBoots(state.Get(clocksKey))}
}

// run watches the clock until ctx ends.
func (c *clocks) run(ctx context.Context) error {
	tick := time.NewTicker(clockInterval)
	defer tick.Stop()
	for {
		c.clock.check()
		if err := c.look(ctx); err != nil && ctx.Err() == nil && err.Error() != c.said {
			c.said = err.Error()
			c.log.Warn("when this gateway was started is not remembered yet; trying on", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look writes down what has become known.
func (c *clocks) look(ctx context.Context) error {
	this, known := c.find(c.clock.boot)
	if !known && c.clock.marked.Load() {
		// Before the clock is set, so that whatever stops this process does not lose
		// that there is something to set right.
		if err := c.put(boot{name: c.clock.boot}); err != nil {
			return err
		}
		known = true
	}
	if known && this.at == 0 && c.clock.synced() {
		at := c.clock.bootAt()
		if err := c.put(boot{name: c.clock.boot, at: at}); err != nil {
			return err
		}
		c.log.Info("the clock is set: records taken before leave with their times set right", "boot", c.clock.boot,
			"started", time.UnixMilli(at).UTC().Format(time.RFC3339))
	}
	return c.tell(ctx)
}

// tell makes the site know what it was not told yet. Once told is enough: the
// site forgets old boots, and should.
func (c *clocks) tell(ctx context.Context) error {
	if c.site == nil || time.Now().Before(c.tellAt) {
		return nil
	}
	c.mu.Lock()
	all := slices.Clone(c.boots)
	c.mu.Unlock()
	for _, b := range all {
		if b.at == 0 || b.told {
			continue
		}
		if at, ok := c.site.bootAt(b.name); !ok || at != b.at {
			if err := c.site.tellBoot(ctx, b.name, b.at); err != nil {
				c.tellAt = time.Now().Add(tellInterval)
				return err
			}
		}
		b.told = true
		if err := c.put(b); err != nil {
			return err
		}
	}
	return nil
}

// BootAt is when a boot began, in ms since 1970: of this machine, or on a site of
// any gateway. It is called for every batch that was taken before the clock was
// set.
func (c *clocks) BootAt(name string) (int64, bool) {
	if b, ok := c.find(name); ok && b.at != 0 {
		return b.at, true
	}
	if name == c.clock.boot && c.clock.synced() {
		return c.clock.bootAt(), true
	}
	if c.site != nil {
		return c.site.bootAt(name)
	}
	return 0, false
}

func (c *clocks) find(name string) (boot, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.boots {
		if b.name == name {
			return b, true
		}
	}
	return boot{}, false
}

// put makes b durable, in place of what was known of it.
func (c *clocks) put(b boot) error {
	c.mu.Lock()
	boots := slices.Clone(c.boots)
	c.mu.Unlock()
	if i := slices.IndexFunc(boots, func(o boot) bool { return o.name == b.name }); i >= 0 {
		boots[i] = b
	} else {
		boots = append(boots, b)
	}
	if len(boots) > bootsMax {
		boots = boots[len(boots)-bootsMax:]
	}
	if err := c.state.PutSync(clocksKey, encodeBoots(boots)); err != nil {
		return fmt.Errorf("remembering when the machine was started: %w", err)
	}
	c.mu.Lock()
	c.boots = boots
	c.mu.Unlock()
	return nil
}

// encodeBoots writes one line for each: name, ms since 1970, and whether the site
// knows.
func encodeBoots(boots []boot) []byte {
	var out []byte
	for _, b := range boots {
		out = fmt.Appendf(out, "%s %d %t\n", b.name, b.at, b.told)
	}
	return out
}

// decodeBoots reads what encodeBoots wrote, and leaves out what it does not know.
func decodeBoots(stored []byte) (boots []boot) {
	for line := range strings.Lines(string(stored)) {
		f := strings.Fields(line)
		if len(f) < 3 || !isBootName(f[0]) || len(boots) == bootsMax {
			continue
		}
		at, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			continue
		}
		boots = append(boots, boot{name: f[0], at: at, told: f[2] == "true"})
	}
	return boots
}

func isBootName(name string) bool {
	return len(name) == bootNameLen && strings.Trim(name, "0123456789abcdef") == ""
}

// bootAt implements bootSite.
func (s *site) bootAt(name string) (int64, bool) {
	c, ok := s.image().Clocks[name]
	return c.BootAt, ok
}

// tellBoot implements bootSite.
func (s *site) tellBoot(ctx context.Context, name string, at int64) error {
	s.mu.Lock()
	r := s.registered
	s.mu.Unlock()
	if r.given == 0 {
		return fmt.Errorf("the site does not know this gateway yet")
	}
	_, err := s.propose(ctx, metadata.Change{PutClock: &metadata.PutClock{Boot: name, Node: r.node, BootAt: at}})
	return err
}

// openClocks makes what remembers the boots of this machine, and on a site those
// of the others.
func (a *Agent) openClocks() error {
	var s bootSite
	if a.site != nil {
		s = a.site
	}
	a.clocks = openClocks(a.clock, a.store.State(), s, a.log)
	return nil
}
