package agent

import (
	"errors"

	"cistern/bridge/drain"
)

func (a *Agent) newMQTTSink() (drain.Sink, error) {
	return nil, errors.New("uplink.mqtt: not built yet")
}
