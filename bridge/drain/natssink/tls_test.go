package natssink

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"cistern/bridge/drain"
	"cistern/bridge/drain/sinktest"
)

func TestTLS(t *testing.T) {
	own, good, stranger := sinktest.TLS(t)
	c := newCentral(t)
	stream := name("tls")
	c.stream(stream, atomic_)
	plain := c.config(stream)
	plain.Client.TLS = good
	l := sinktest.NewLog("s", 0).Fill(t, 2, 4)
	g := sinktest.Start(t, sink(t, plain), sinktest.Setup{}, l)
	g.Until("a server without TLS is refused", func(s drain.Status) bool { return strings.Contains(s.Uplink.LastError, "does not offer TLS") })
	g.Stop()

	c.stop()
	c.start(func(o *server.Options) { o.TLS, o.TLSConfig = true, own })
	cfg := c.config(stream)
	cfg.Client.TLS = stranger
	g = sinktest.Start(t, sink(t, cfg), sinktest.Setup{}, l)
	g.Until("a stranger is refused", func(s drain.Status) bool { return strings.Contains(s.Uplink.LastError, "unknown authority") })
	g.Stop()
	cfg.Client.TLS = good
	g = sinktest.Start(t, sink(t, cfg), sinktest.Setup{}, l)
	g.Drained(nil, l)
}
