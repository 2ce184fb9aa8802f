package agent

import (
	"fmt"

	"cistern/bridge/drain"
	"cistern/bridge/drain/natssink"
	"cistern/bridge/nats"
)

// newNATSSink makes the way to a stream of JetStream.
func (a *Agent) newNATSSink() (drain.Sink, error) {
	n := &a.config.Uplink.NATS
	client := nats.Config{URLs: n.URLs, Name: "cistern-" + a.config.Gateway.Site + "-" + a.config.Gateway.Name, User: n.User, Dial: a.wire.dial}
	var err error
	if client.Password, err = secret(n.PasswordFile); err != nil {
		return nil, err
	}
	if client.TLS, err = uplinkTLS(n.TLS); err != nil {
		return nil, err
	}
	if n.CredsFile != "" {
		if client.Creds, err = nats.LoadCreds(n.CredsFile); err != nil {
			return nil, fmt.Errorf("uplink: %w", err)
		}
	}
	return natssink.New(natssink.Config{
		Client: client, Site: a.config.Gateway.Site, Stream: n.Stream, Subject: n.Subject, Logger: a.log,
	})
}
