package kafkasink

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"

	"cistern/gossip/metadata"
)

// releases are the clusters that the main paths are tried against.
var releases = map[string][]kfake.Opt{
	"kafka 2.8": {kfake.MaxVersions(kversion.V2_8_0())},
	"latest":    nil,
}

func TestDrainsInOrder(t *testing.T) {
	for name, opts := range releases {
		t.Run(name, func(t *testing.T) {
			c := newCentral(t, opts...)
			stream := c.name("plain")
			c.create(stream, 2)
			a, b := newLog(stream, 0).fill(t, 40, 10), newLog(stream, 1).fill(t, 3, 1)
			g := c.gateway(setup{}, a, b)
			g.drained(a, b)
			a.append(t, 5, metadata.CodecLZ4) // wakes an idle partition
			g.drained(a, b)
			g.stop()
			c.expect(stream, 0, a.id, offsets(0, 405))
			c.expect(stream, 1, b.id, offsets(0, 3))
		})
	}
}
