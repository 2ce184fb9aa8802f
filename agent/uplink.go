package agent

import (
	"fmt"

	"cistern/agent/config"
	"cistern/agent/status"
	"cistern/bridge/drain"
	"cistern/bridge/drain/kafkasink"
	"cistern/bridge/kafka"
	"cistern/gossip/metadata"
)

// openDrain makes the drain of every partition, if there is an uplink.
func (a *Agent) openDrain() error {
	if a.config.Uplink.Way() == config.WayNone {
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
	c := drain.Config{
		Sink: sink, State: a.store.State(), Quarantine: aside, Logger: a.log,
		OnCursor: func(p metadata.PartitionID, offset int64) { a.store.Log(p).SetDrained(offset) },
	}
	if a.site != nil {
		a.site.cursors = newCursors(a.site)
		c.State = a.site.cursors
	}
	if a.drain, err = drain.New(c); err != nil || a.site != nil {
		return err // a site's drains follow its leaders
	}
	for _, log := range a.store.Logs() {
		if err := a.drain.Add(log, drain.Term{}); err != nil {
			return err
		}
	}
	return nil
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
	k := &a.config.Uplink.Kafka
	client, err := kafkaClient(k, a.config.Gateway.Name)
	if err != nil {
		return nil, err
	}
	return kafkasink.New(kafkasink.Config{
		Client: client, Site: a.config.Gateway.Site, Topic: k.Topic,
		CreateTopics: k.CreateTopics, Partitions: a.partitions,
		RequestBytes: k.RequestBytes, Logger: a.log,
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
