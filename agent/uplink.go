package agent

import (
	"time"

	"cistern/agent/config"
	"cistern/bridge/drain"
	"cistern/bridge/drain/kafkasink"
	"cistern/bridge/drain/pace"
	"cistern/bridge/drain/shape"
	"cistern/bridge/kafka"
	"cistern/gossip/metadata"
)

// openDrain makes the drain of every partition, if there is an uplink.
func (a *Agent) openDrain() error {
	if a.config.Uplink.Way() == config.WayNone {
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
	a.gate = a.newGate(sink)
	a.shaper = a.newShaper()
	c := a.drainConfig()
	c.Sink, c.Quarantine = sink, aside
	if a.site != nil {
		a.site.cursors = newCursors(a.site)
		c.State = a.site.cursors
	}
	if a.drain, err = drain.New(c); err != nil || a.site != nil {
		return err // a site's drains follow what the site decides
	}
	for _, log := range a.store.Logs() {
		if err := a.drain.Add(log, drain.Term{}); err != nil {
			return err
		}
	}
	return nil
}

// drainConfig is what the file says about the drain, whatever it leads to.
func (a *Agent) drainConfig() drain.Config {
	c := drain.Config{
		State: a.store.State(), Gate: a.gate, Shaper: a.shaper, Site: a.config.Gateway.Site, Logger: a.log,
		LaneOf:   func(stream string) string { return a.stream(stream).Lane },
		OnCursor: func(p metadata.PartitionID, offset int64) { a.store.Log(p).SetDrained(offset) },
	}
	if a.site != nil {
		c.Mender = a.site.replicas
	}
	if a.config.Uplink.Order == config.OrderLiveFirst {
		c.Order = drain.OrderLiveFirst
	}
	return c
}

// newGate makes what decides when bytes may leave. It watches the sink, so that it
// knows when the uplink is back.
func (a *Agent) newGate(sink drain.Sink) *pace.Gate {
	u := &a.config.Uplink
	kept := paceMemory{a.store.State(), a.log}
	return pace.New(pace.Config{
		BytesPerSecond: u.BytesPerSecond, Weights: u.Weights, LiveFirst: u.Order == config.OrderLiveFirst,
		Schedule: u.Schedule, DailyBytes: u.DailyBytes, RampUp: u.RampUp,
		Load: kept.load, Save: kept.save, Wire: a.wire.counts, Now: a.today,
		Uplink: func() (time.Time, bool) {
			s := sink.Uplink()
			return s.Since, s.State == drain.UplinkUp
		},
	})
}

// newShaper makes what leaves out of what is stored.
func (a *Agent) newShaper() *shape.Shaper {
	c := shape.Config{BootAt: a.clocks.BootAt, Logger: a.log}
	if r := a.config.Uplink.Rebatch; r.Bytes > 0 {
		c.Rebatch = &shape.Rebatch{Bytes: r.Bytes, Level: r.Level, Linger: r.Linger}
	}
	return shape.New(c)
}

// newSink makes the way upstream that is configured. It dials nothing.
func (a *Agent) newSink() (drain.Sink, error) {
	switch a.config.Uplink.Way() {
	case config.WayMQTT:
		return a.newMQTTSink()
	case config.WayNATS:
		return a.newNATSSink()
	}
	return a.newKafkaSink()
}

func (a *Agent) newKafkaSink() (drain.Sink, error) {
	c, err := a.kafkaConfig()
	if err != nil {
		return nil, err
	}
	return kafkasink.New(c)
}

func (a *Agent) kafkaConfig() (kafkasink.Config, error) {
	k := &a.config.Uplink.Kafka
	client, err := kafkaClient(k, a.config.Gateway.Name)
	if err != nil {
		return kafkasink.Config{}, err
	}
	client.Dial = a.wire.dial
	mode, err := kafkasink.ParseMode(k.Mode)
	return kafkasink.Config{
		Client: client, Site: a.config.Gateway.Site, Topic: k.Topic, Mode: mode,
		CreateTopics: k.CreateTopics, Partitions: a.partitions,
		RequestBytes: k.RequestBytes, Logger: a.log,
	}, err
}

func kafkaClient(k *config.Kafka, name string) (kafka.Config, error) {
	c := kafka.Config{Brokers: k.Brokers, ClientID: "cistern-" + name, RequestTimeout: k.Timeout}
	var err error
	if c.TLS, err = uplinkTLS(k.TLS); err != nil || k.SASL.Mechanism == "" {
		return c, err
	}
	password, err := secret(k.SASL.PasswordFile)
	c.SASL = &kafka.SASL{Mechanism: k.SASL.Mechanism, User: k.SASL.User, Password: password}
	return c, err
}
