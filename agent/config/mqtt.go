package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"cistern/bridge/mqtt/packet"
	"cistern/gossip/metadata"
)

func readMQTT(t *table, m *MQTT) {
	if t.has("listener") {
		m.Listeners = nil
	}
	if t.has("route") {
		m.Routes = nil
	}
	t.text("password_file", &m.PasswordFile)
	t.inlineSecret("password")
	t.integer("connections_max", &m.ConnectionsMax, 1, 100_000)
	packet := int64(m.PacketBytesMax)
	t.size("packet_bytes_max", &packet, 128, packetBytesMax)
	m.PacketBytesMax = int(packet)
	t.integer("receive_maximum", &m.ReceiveMaximum, 1, 65535)
	t.duration("connect_timeout", &m.ConnectTimeout, 100*time.Millisecond, time.Minute)
	t.each("listener", func(t *table) { m.Listeners = append(m.Listeners, readListener(t, m.PasswordFile != "")) })
	t.each("route", func(t *table) { m.Routes = append(m.Routes, readRoute(t)) })
	t.each("source", func(t *table) { m.Sources = append(m.Sources, readSource(t)) })
	t.done()
}

// packetBytesMax leaves room for a key and headers in one batch.
const packetBytesMax = 900_000

func readListener(t *table, users bool) Listener {
	l := Listener{Address: listenDefault}
	t.text("address", &l.Address)
	t.flag("anonymous", &l.Anonymous)
	if err := checkHostPort(l.Address); err != nil {
		t.fail("address", "addresses look like \"0.0.0.0:1883\"", "%s", err)
	} else if !l.Anonymous && !users && !l.Loopback() {
		t.doc.fail(t.path, "make a user with `cistern user add NAME --file users`",
			"%s can be reached by others: it needs users (password_file in [mqtt]), or anonymous = true if everybody may publish", l.Address)
	}
	return l
}

// Loopback says whether only this machine can reach the listener.
func (l Listener) Loopback() bool {
	host, _, err := net.SplitHostPort(l.Address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func readRoute(t *table) Route {
	r := Route{Stream: metadata.DefaultStream}
	t.text("filter", &r.Filter)
	t.text("stream", &r.Stream)
	t.text("key", &r.Key)
	t.flag("tombstone", &r.Tombstone)
	if !t.has("filter") {
		t.doc.fail(t.path, "filter = \"#\" takes every topic", "a route needs a filter")
	} else if err := checkFilter(r.Filter); err != nil {
		t.fail("filter", "", "%s", err)
	} else if r.Filter[0] == '$' {
		t.fail("filter", "", "is %q; topics that start with $ are never stored", r.Filter)
	}
	return r
}

// checkFilter holds a topic filter to what MQTT allows.
func checkFilter(f string) error {
	if !packet.ValidFilter(f) {
		return fmt.Errorf("%q is no topic filter: + stands for one level, # for all the rest, each alone between slashes", f)
	}
	return nil
}

// checkRoutes finds routes to streams that nobody declared, which are
// misspelled ones as a rule. The default stream needs no declaration.
func checkRoutes(doc *document, c *Config) {
	names := []string{metadata.DefaultStream}
	for _, s := range c.Streams {
		names = append(names, s.Name)
	}
	for i, r := range c.MQTT.Routes {
		if slices.Contains(names, r.Stream) {
			continue
		}
		path := fmt.Sprintf("mqtt.route[%d].stream", i)
		hint := fmt.Sprintf("add [[stream]] with name = %q", r.Stream)
		if s := closest(r.Stream, names); s != "" {
			hint = fmt.Sprintf("did you mean %q?", s)
		}
		doc.fail(path, hint, "stream %q is not declared", r.Stream)
	}
}

func readSource(t *table) Source {
	s := defaultSource()
	t.text("url", &s.URL)
	t.text("client_id", &s.ClientID)
	t.text("user", &s.User)
	t.text("password_file", &s.PasswordFile)
	t.texts("topics", &s.Topics)
	qos := int(s.QoS)
	t.integer("qos", &qos, 0, 2)
	s.QoS = byte(qos)
	retained := string(s.Retained)
	t.text("retained", &retained, string(RetainedSkip), string(RetainedIngest))
	s.Retained = Retained(retained)
	t.integer("window", &s.Window, 1, 65535)
	readTLS(t.table("tls"), &s.TLS, false)
	t.inlineSecret("password")
	checkSource(t, &s)
	return s
}

func checkSource(t *table, s *Source) {
	u, err := url.Parse(s.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "mqtt" && u.Scheme != "mqtts":
		t.fail("url", "", "is %q; must look like \"mqtt://host:1883\" or \"mqtts://host:8883\"", s.URL)
	case u.User != nil:
		t.fail("url", "use user and password_file", "secrets don't belong in the configuration")
	default:
		s.TLS.Enabled = u.Scheme == "mqtts"
	}
	if len(s.Topics) == 0 {
		t.doc.fail(t.path, "topics = [\"#\"] takes every topic", "a source needs topics")
	}
	for _, f := range s.Topics {
		if strings.HasPrefix(f, packet.SharedPrefix) {
			t.fail("topics", "let one gateway read the broker", "%q: shared subscriptions would leave messages behind in the session of a gateway that is away", f)
		}
		if err := checkFilter(f); err != nil {
			t.fail("topics", "", "%s", err)
		}
	}
	if s.PasswordFile != "" && s.User == "" {
		t.fail("password_file", "", "needs a user as well")
	}
}

// checkSources gives the sources of a site their client_id: the same on every
// gateway, so that whichever reads the broker next is given the session of the
// last. Two sessions of one name at one broker would end each other for ever.
func checkSources(doc *document, c *Config) {
	seen := map[[2]string]bool{}
	for i := range c.MQTT.Sources {
		s, path := &c.MQTT.Sources[i], fmt.Sprintf("mqtt.source[%d]", i)
		if s.ClientID == "" && c.IsSite() {
			s.ClientID = "cistern-" + c.Gateway.Site
		}
		session := [2]string{s.URL, s.ClientID}
		switch {
		case s.ClientID == "":
			doc.fail(path, "the broker keeps messages for this name while the gateway is away", "a source needs a fixed client_id")
		case seen[session]:
			doc.fail(path+".client_id", "", "%q reads %s already; a broker ends the older of two connections of one client_id", s.ClientID, s.URL)
		}
		seen[session] = true
	}
}
