package agent

import (
	"context"
	"errors"
	"log/slog"

	"cistern/agent/config"
	"cistern/bridge/mqtt"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/ingest"
)

// Check asks every part whether it could work with a configuration: templates,
// certificates, password files. It opens no store and no connection.
func Check(c config.Config) error {
	a := New(c, "", slog.New(slog.DiscardHandler))
	server, err := a.serverConfig()
	if err != nil {
		return err
	}
	server.Appender = nowhere{}
	_, serverErr := mqtt.New(server)
	_, sourcesErr := a.newReaders(nowhere{})
	var sinkErr error
	if c.Uplink.Way() != config.WayNone {
		_, sinkErr = a.newSink()
	}
	return errors.Join(serverErr, sourcesErr, sinkErr)
}

// nowhere stands where records would go.
type nowhere struct{}

func (nowhere) Append(context.Context, metadata.PartitionID, *batch.Record, ingest.Completion, uint64) error {
	return ingest.ErrUnavailable
}
