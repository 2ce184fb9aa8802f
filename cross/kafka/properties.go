package kafka

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// render returns the broker's server.properties.
func (b *Broker) render() []byte {
	all := map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        "1",
		"controller.quorum.voters":       "1@" + b.controller,
		"controller.listener.names":      "CONTROLLER",
		"listeners":                      "PLAINTEXT://" + b.listen + ",CONTROLLER://" + b.controller,
		"advertised.listeners":           "PLAINTEXT://" + b.listen,
		"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs":                       b.Data(),

		// One broker has no replicas.
		"offsets.topic.replication.factor":         "1",
		"transaction.state.log.replication.factor": "1",
		"transaction.state.log.min.isr":            "1",

		// One that was killed is let back in when its old session has ended.
		"broker.session.timeout.ms":    "2000",
		"broker.heartbeat.interval.ms": "400",

		// As the stand-in has it; a production cluster should too.
		"auto.create.topics.enable": "false",

		// Small, for two processors and a laptop's memory.
		"num.network.threads":                  "2",
		"num.io.threads":                       "2",
		"offsets.topic.num.partitions":         "2",
		"transaction.state.log.num.partitions": "2",
		"log.cleaner.dedupe.buffer.size":       "4194304",
		"group.initial.rebalance.delay.ms":     "0",
	}
	maps.Copy(all, b.properties)
	var out bytes.Buffer
	for _, key := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&out, "%s=%s\n", key, all[key])
	}
	return out.Bytes()
}
