package agent

import (
	"errors"
	"fmt"
	"strings"

	"github.com/VictoriaMetrics/metrics"

	"cistern/agent/config"
	"cistern/agent/status"
	"cistern/agent/users"
	"cistern/bridge/drain"
	"cistern/bridge/drain/kafkasink"
	"cistern/bridge/kafka"
	"cistern/bridge/mqtt"
	"cistern/bridge/mqtt/source"
	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/ingest"
)

// ErrInUse says that another agent has the data folder.
var ErrInUse = errors.New("another agent uses this data folder")

// open makes the parts, right to left. Nothing runs yet but the journal's own
// committers.
func (a *Agent) open() error {
	for _, step := range []func() error{a.openStore, a.openDrain, a.openMQTT, a.openSources, a.openStatus} {
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
	for _, s := range a.config.Streams {
		if err := store.PutStream(s); err != nil {
			return err
		}
	}
	o := store.Opened()
	a.log.Info("journal open", "segments", o.Segments, "scanned", o.Scanned, "damaged", o.Damaged,
		"took", o.Took.String(), "max_bytes", store.Stats().MaxBytes)
	a.ingest = ingest.New(ingest.Config{Store: store, DailyWriteBudget: c.DailyWriteBudget, Logger: a.log})
	return nil
}

// openDrain makes the drain of every partition, if there is an uplink.
func (a *Agent) openDrain() error {
	if len(a.config.Uplink.Kafka.Brokers) == 0 {
		a.health.Set(status.NoUplinkConfigured, "")
		return nil
	}
	sink, err := a.newSink()
	if err != nil {
		return err
	}
	aside, err := openQuarantine(a.config.Gateway.Data, a.log)
	if err != nil {
		return err
	}
	a.drain, err = drain.New(drain.Config{
		Sink: sink, State: a.store.State(), Quarantine: aside, Logger: a.log,
		OnCursor: func(p metadata.PartitionID, offset int64) { a.store.Log(p).SetDrained(offset) },
	})
	if err != nil {
		return err
	}
	for _, log := range a.store.Logs() {
		if err := a.drain.Add(log); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) newSink() (*kafkasink.Sink, error) {
	k := &a.config.Uplink.Kafka
	client, err := kafkaClient(k, a.config.Gateway.Name)
	if err != nil {
		return nil, err
	}
	return kafkasink.New(kafkasink.Config{
		Client: client, Site: a.config.Gateway.Site, Topic: k.Topic,
		CreateTopics: k.CreateTopics, Partitions: a.partitions,
		RequestBytes: k.RequestBytes, BytesPerSecond: k.BytesPerSecond, Logger: a.log,
	})
}

func kafkaClient(k *config.Kafka, name string) (kafka.Config, error) {
	c := kafka.Config{Brokers: k.Brokers, ClientID: "cistern-" + name, RequestTimeout: k.Timeout}
	if k.TLS.Enabled {
		var err error
		if c.TLS, err = (kafka.TLS{CAFile: k.TLS.CAFile, CertFile: k.TLS.CertFile, KeyFile: k.TLS.KeyFile, ServerName: k.TLS.ServerName}).Load(); err != nil {
			return c, fmt.Errorf("uplink: %w", err)
		}
	}
	if k.SASL.Mechanism != "" {
		password, err := config.ReadSecret(k.SASL.PasswordFile)
		if err != nil {
			return c, fmt.Errorf("uplink: %w", err)
		}
		c.SASL = &kafka.SASL{Mechanism: k.SASL.Mechanism, User: k.SASL.User, Password: password}
	}
	return c, nil
}

// partitions tells how many partitions a configured stream has, 0 when there is
// none.
func (a *Agent) partitions(stream string) int32 {
	s, _ := a.config.Stream(stream)
	return s.Partitions
}

func (a *Agent) openMQTT() error {
	set := metrics.NewSet()
	a.sets = append(a.sets, set)
	c, err := a.serverConfig()
	if err != nil {
		return err
	}
	c.Appender, c.Logs, c.Metrics = a.ingest, a.findLog, set
	var open []string
	for _, l := range a.config.MQTT.Listeners {
		if l.Anonymous && !l.Loopback() {
			open = append(open, l.Address)
		}
	}
	a.health.Update(status.AnonymousListener, len(open) > 0, "%s", strings.Join(open, ", "))
	a.mqtt, err = mqtt.New(c)
	return err
}

// serverConfig is what the file alone says about the MQTT server.
func (a *Agent) serverConfig() (mqtt.Config, error) {
	m := &a.config.MQTT
	c := mqtt.Config{
		Routes: a.routes(), Partitions: a.partitions, Site: a.config.Gateway.Site, ClockSynced: a.clock.synced, Logger: a.log,
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
		s, _ := a.config.Stream(r.Stream)
		routes = append(routes, mqtt.Route{Filter: r.Filter, Stream: r.Stream, Key: r.Key, Tombstone: r.Tombstone, Acks: s.Acks})
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

func (a *Agent) openSources() (err error) {
	a.sources, err = a.newSources(a.ingest)
	return err
}

func (a *Agent) newSources(to source.Appender) (all []*source.Source, err error) {
	router, err := mqtt.NewRouter(a.routes(), a.partitions, a.config.Gateway.Site, a.clock.synced)
	if err != nil {
		return nil, err
	}
	for _, s := range a.config.MQTT.Sources {
		src, err := source.New(source.Config{
			URL: s.URL, ClientID: s.ClientID, User: s.User, PasswordFile: s.PasswordFile,
			Topics: s.Topics, QoS: s.QoS, Retained: source.Retained(s.Retained), Window: s.Window,
			TLS: source.TLS{Enabled: s.TLS.Enabled, CAFile: s.TLS.CAFile, CertFile: s.TLS.CertFile, KeyFile: s.TLS.KeyFile, ServerName: s.TLS.ServerName},
		}, router, to, a.log)
		if err != nil {
			return nil, err
		}
		all = append(all, src)
	}
	return all, nil
}

func (a *Agent) openStatus() error {
	socket, err := a.config.SocketPath()
	if err != nil {
		return err
	}
	a.status = &status.Server{Socket: socket, HTTP: a.config.Status.HTTP, Gatherer: a, Sets: a.sets, Log: a.log}
	return nil
}
