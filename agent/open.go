package agent

import (
	"errors"
	"fmt"
	"strings"

	"cistern/agent/status"
	"cistern/agent/users"
	"cistern/bridge/mqtt"
	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/ingest"
)

// ErrInUse says that another agent has the data folder.
var ErrInUse = errors.New("another agent uses this data folder")

// open makes the parts, right to left. Nothing runs yet but the journal's own
// committers.
func (a *Agent) open() error {
	for _, step := range []func() error{a.openStore, a.openSite, a.openClocks, a.openIngest, a.openDrain, a.openStatus, a.openUpdates} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) openStore() error {
	c := a.config.Storage
	store, err := segstore.Open(segstore.Config{
		Dir: a.config.Gateway.Data, MaxBytes: c.MaxBytes, SegmentBytes: c.SegmentBytes, Logger: a.log,
	})
	if errors.Is(err, segstore.ErrInUse) {
		return fmt.Errorf("%s: %w", a.config.Gateway.Data, ErrInUse)
	}
	if err != nil {
		return err
	}
	a.store = store
	a.powerFail, a.dataOn = lastPowerFail(a.config.Gateway.Data), dataDisk(a.looks.root, a.config.Gateway.Data)
	if err := a.putStreams(); err != nil {
		return err
	}
	o := store.Opened()
	a.log.Info("journal open", "segments", o.Segments, "scanned", o.Scanned, "damaged", o.Damaged, "clean", o.Clean,
		"took", o.Took.String(), "max_bytes", store.Stats().MaxBytes)
	return nil
}

// putStreams makes the streams of the file. A site agrees on its streams.
func (a *Agent) putStreams() error {
	if a.config.IsSite() {
		return a.checkAlone()
	}
	for _, s := range a.config.Streams {
		if err := a.store.PutStream(s); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) openIngest() error {
	c := ingest.Config{Store: a.store, DailyWriteBudget: a.config.Storage.DailyWriteBudget, Logger: a.log}
	if a.site != nil {
		c.Journal = a.site.forward
	}
	a.ingest = ingest.New(c)
	return nil
}

// stream is what was decided about a stream: by the site, or by the file.
func (a *Agent) stream(name string) metadata.StreamConfig {
	if a.site != nil {
		s, _ := a.site.stream(name)
		return s
	}
	s, _ := a.config.Stream(name)
	return s
}

// partitions tells how many partitions a stream has, 0 when there is none.
func (a *Agent) partitions(stream string) int32 { return a.stream(stream).Partitions }

func (a *Agent) newMQTT() (*mqtt.Server, error) {
	c, err := a.serverConfig()
	if err != nil {
		return nil, err
	}
	set := a.sets[0]
	c.Appender, c.Logs, c.Metrics = a.ingest, a.findLog, set
	var open []string
	for _, l := range a.config.MQTT.Listeners {
		if l.Anonymous && !l.Loopback() {
			open = append(open, l.Address)
		}
	}
	a.health.Update(status.AnonymousListener, len(open) > 0, "%s", strings.Join(open, ", "))
	return mqtt.New(c)
}

// serverConfig is what the file alone says about the MQTT server.
func (a *Agent) serverConfig() (mqtt.Config, error) {
	m := &a.config.MQTT
	c := mqtt.Config{
		Routes: a.routes(), Partitions: a.partitions, Site: a.config.Gateway.Site, ClockMark: a.clock.mark, Logger: a.log,
		Limits: mqtt.Limits{
			Connections: m.ConnectionsMax, PacketBytes: m.PacketBytesMax,
			ReceiveMaximum: m.ReceiveMaximum, ConnectTime: m.ConnectTimeout,
		},
	}
	for _, l := range m.Listeners {
		c.Listeners = append(c.Listeners, mqtt.Listener{Address: l.Address, Anonymous: l.Anonymous})
	}
	if m.PasswordFile == "" {
		return c, nil
	}
	v, err := users.NewVerifier(m.PasswordFile)
	if err != nil {
		return c, err
	}
	c.Auth = v
	return c, nil
}

func (a *Agent) routes() []mqtt.Route {
	var routes []mqtt.Route
	for _, r := range a.config.MQTT.Routes {
		routes = append(routes, mqtt.Route{Filter: r.Filter, Stream: r.Stream, Key: r.Key, Tombstone: r.Tombstone, Acks: a.stream(r.Stream).Acks})
	}
	return routes
}

// findLog finds a partition's log for subscribers.
func (a *Agent) findLog(p metadata.PartitionID) (mqtt.Log, error) {
	if log := a.store.Log(p); log != nil {
		return log, nil
	}
	return nil, fmt.Errorf("%s: %w", p, segstore.ErrUnknownStream)
}

func (a *Agent) openStatus() error {
	socket, err := a.config.SocketPath()
	if err != nil {
		return err
	}
	a.status = &status.Server{Socket: socket, HTTP: a.config.Status.HTTP, Gatherer: a, Sets: a.sets, Log: a.log}
	if a.site != nil {
		a.status.Site = a.site
	}
	return nil
}
