package agent

import (
	"crypto/tls"
	"fmt"

	"cistern/agent/config"
	"cistern/bridge/drain"
	"cistern/bridge/drain/mqttsink"
	"cistern/bridge/kafka"
)

// newMQTTSink makes the way to a central MQTT broker.
func (a *Agent) newMQTTSink() (drain.Sink, error) {
	m := &a.config.Uplink.MQTT
	c := mqttsink.Config{
		URL: m.URL, ClientID: m.ClientID, User: m.User,
		Prefix: m.Prefix, QoS: m.QoS, Window: m.Window, Dial: a.wire.dial, Logger: a.log,
	}
	if c.ClientID == "" {
		c.ClientID = "cistern-" + a.config.Gateway.Site + "-" + a.config.Gateway.Name
	}
	var err error
	if c.Password, err = secret(m.PasswordFile); err != nil {
		return nil, err
	}
	if c.TLS, err = uplinkTLS(m.TLS); err != nil {
		return nil, err
	}
	return mqttsink.New(c)
}

// secret reads a password file; "": there is none.
func secret(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	s, err := config.ReadSecret(file)
	if err != nil {
		return "", fmt.Errorf("uplink: %w", err)
	}
	return s, nil
}

// uplinkTLS loads what a TLS section names; nil: it is not enabled.
func uplinkTLS(t config.TLS) (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c, err := kafka.TLS{CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile, ServerName: t.ServerName}.Load()
	if err != nil {
		return nil, fmt.Errorf("uplink: %w", err)
	}
	return c, nil
}
