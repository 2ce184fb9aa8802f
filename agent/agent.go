package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"cistern/agent/config"
	"cistern/agent/status"
	"cistern/bridge/drain"
	"cistern/bridge/drain/pace"
	"cistern/bridge/drain/shape"
	"cistern/bridge/mqtt"
	"cistern/segstore"
	"cistern/segstore/ingest"
)

// Limits of a stop. Each part has its own, shorter one; these are for parts
// that hang.
const (
	stopPartMax  = 10 * time.Second
	stopStoreMax = 15 * time.Second
)

// Agent is one gateway. Make it with New, and Run it once.
type Agent struct {
	config               config.Config
	version              string
	log                  *slog.Logger
	started              time.Time
	clock                *clock
	health               *status.Health
	sets                 []*metrics.Set
	ages                 ages
	dropped, quarantined news
	siteJudge            status.SiteJudge
	life                 *life // that outlives this agent; nil: it has no board
	orders               orders
	light                light
	looks                looks
	dataOn               string            // the disk that holds the data, "" if that is not one
	powerFail            *status.PowerFail // the last one before this start
	left                 []*part           // behind, by a stop that had no time to wait
	today                func() time.Time  // the clock of the daily budget; nil: time.Now

	// The parts, made by open from top to bottom and never changed after.
	store   *segstore.Store
	site    *site // nil for a gateway on its own
	clocks  *clocks
	ingest  *ingest.Accumulator
	drain   *drain.Drainer // nil without an uplink, as the next two
	gate    *pace.Gate
	shaper  *shape.Shaper
	wire    wireMeter // of the uplink
	readers readers
	mqtt    atomic.Pointer[mqtt.Server] // nil until devices are let in
	status  *status.Server
	alive   *watchdog // nil when nobody waits for signs of life
	updates *updates  // nil for a gateway that runs from no image
}

// New returns an agent that has touched nothing yet.
func New(c config.Config, version string, log *slog.Logger) *Agent {
	if c.Gateway.Name == "" {
		c.Gateway.Name, _ = os.Hostname()
	}
	a := &Agent{
		config:  c,
		version: version,
		log:     log,
		clock:   newClock(),
		health:  &status.Health{Log: log},
		orders:  newOrders(),
		sets:    []*metrics.Set{metrics.NewSet()}, // of the MQTT server
	}
	a.readers.a = a
	return a
}

// Run is the gateway's life: it returns nil after a clean stop, which ctx asks
// for, and else the error of the part that could not go on.
func (a *Agent) Run(ctx context.Context) error {
	a.started = time.Now()
	limitMemory(a.config.Gateway.MemoryLimit)
	a.log.Info("cistern starts", "version", a.version, "name", a.config.Gateway.Name, "site", a.config.Gateway.Site,
		"data", a.config.Gateway.Data, "pid", os.Getpid())
	if a.life == nil {
		if a.alive = newWatchdog(notify, nil, a.log); a.alive != nil {
			go a.alive.run()
			defer a.alive.close()
		}
	}
	a.alive.enter(opening)
	ctx, dismiss := a.orders.obey(ctx)
	defer dismiss()
	if err := a.open(); err != nil {
		return errors.Join(err, a.close())
	}
	crew := newCrew(a.log)
	a.alive.enter(working)
	a.start(crew)
	if err := a.serve(ctx, crew); err != nil {
		if ctx.Err() != nil {
			err = nil // asked to stop while it waited for the site
		}
		return errors.Join(err, a.end(crew))
	}
	a.tell("READY=1")
	a.log.Info("ready", "after", time.Since(a.started).Round(time.Millisecond).String(),
		"mqtt", a.listening(), "data", a.config.Gateway.Data, "uplink", a.uplinkName())

	var failure error
	select {
	case <-ctx.Done():
	case failure = <-crew.failed:
		a.log.Error("a part failed, stopping", "error", failure)
	}
	err := errors.Join(failure, a.end(crew))
	a.log.Info("stopped", "clean", err == nil)
	return err
}

// end stops the parts the way there is time for. The service manager is not told
// of a stop after which the process goes on.
func (a *Agent) end(c *crew) error {
	if !a.rests() {
		a.tell("STOPPING=1")
	}
	a.log.Info("stopping")
	a.light.out(a.life)
	if a.orders.button.Err() != nil {
		a.giveWay()
	}
	if a.orders.power.Err() != nil {
		return a.stopNow(c)
	}
	return a.stop(c)
}

// stop ends the parts, left to right. Devices are sent away first; then the
// gateway gives up what it leads, while it can still say so.
func (a *Agent) stop(c *crew) error {
	a.alive.enter(stopping)
	doors := c.stop(stopPartMax, "mqtt", "external brokers")
	if a.ingest != nil {
		a.ingest.Close()
	}
	if a.site != nil {
		// Drains end while what they say still counts: whoever is next goes on where
		// they stopped. Then the site, which would say that we live.
		doors = errors.Join(doors, c.stop(stopPartMax, "drain follows leaders", "drain"))
		if a.site.cursors != nil {
			a.site.cursors.tellLast(context.Background())
		}
		doors = errors.Join(doors, c.stop(stopPartMax, "site"))
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		a.site.leave(ctx)
		cancel()
	}
	return errors.Join(doors, c.stop(stopPartMax), a.close())
}

// start runs the parts that work inside, right to left.
func (a *Agent) start(c *crew) {
	c.start("journal", a.store.Run)
	if a.site != nil {
		a.site.start(c)
	}
	c.start("clock", a.clocks.run)
	if a.drain != nil {
		c.start("drain", a.drain.Run)
	}
	if a.drain != nil && a.site != nil {
		c.start("drain follows leaders", a.site.cursors.run)
	}
	c.start("watch", a.watch)
	c.start("board", a.lookAtBoard)
	if a.alive != nil {
		c.start("pulse", func(ctx context.Context) error { return a.alive.feelPulse(ctx, a.store.Pulse) })
	}
	if a.updates != nil {
		c.start("updates", a.updates.run)
	}
}

// serve opens the doors: the status first, since a gateway that waits for its
// site has something to tell; then devices.
func (a *Agent) serve(ctx context.Context, c *crew) error {
	if err := a.recallDrained(); err != nil {
		return err
	}
	a.listenToOperators()
	if err := a.status.Listen(); err != nil {
		return err
	}
	c.start("status", a.status.Run)
	a.log.Info("status: listening", "socket", a.status.Socket)
	if addr := a.status.Addr(); addr != nil {
		a.log.Info("status: listening", "http", addr.String())
	}
	if a.site != nil {
		if err := a.awaitSite(ctx, c); err != nil {
			return err
		}
	}
	server, err := a.newMQTT()
	if err != nil {
		return err
	}
	if err := a.openReaders(); err != nil {
		return err
	}
	if err := server.Listen(); err != nil {
		return err
	}
	a.mqtt.Store(server)
	c.start("mqtt", server.Run)
	c.start("external brokers", a.readers.run)
	return nil
}

// awaitSite returns when the site has told what devices' records need.
func (a *Agent) awaitSite(ctx context.Context, c *crew) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	told := make(chan error, 1)
	go func() { told <- a.site.await(ctx) }()
	select {
	case err := <-told:
		return err
	case failure := <-c.failed:
		cancel(failure)
		<-told
		return failure
	}
}

// close lets go of what open took, the journal last. What is committed by then
// is confirmed by then: the parts that confirm have stopped.
func (a *Agent) close() error {
	if a.ingest != nil {
		a.ingest.Close()
	}
	var siteErr error
	if a.site != nil {
		siteErr = a.site.close()
	}
	if a.store == nil {
		return siteErr
	}
	return errors.Join(siteErr, a.closeStore(stopStoreMax))
}

// closeStore closes the journal, which marks the stop as a clean one.
func (a *Agent) closeStore(limit time.Duration) error {
	done := make(chan error, 1)
	go func() {
		a.gate.Close()
		done <- a.store.Close()
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		return fmt.Errorf("the journal did not close within %s", limit)
	}
}

// listening and uplinkName are for the line in the log that people look for.
func (a *Agent) listening() string {
	var all []string
	for _, addr := range a.mqtt.Load().Addrs() {
		all = append(all, addr.String())
	}
	return strings.Join(all, " ")
}

func (a *Agent) uplinkName() string {
	if a.drain == nil {
		return "none: buffering"
	}
	return strings.Join(a.config.Uplink.Addresses(), " ")
}

func (a *Agent) tell(state string) { tellManager(a.log, state) }
