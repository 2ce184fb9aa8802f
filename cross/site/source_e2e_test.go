//go:build e2e

package site

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"cistern/agent/status"
	"cistern/cross/central"
	"cistern/cross/rig"
)

const (
	sourceMessages = 3000
	sourceRate     = 500 // messages a second
	sourceKills    = 3
)

// A real Mosquitto on the network, which one gateway reads. It is killed, and the
// next reads on under the same client id: nothing is lost, first copies are in
// order. A second copy is what QoS 1 allows: the reader died before its
// acknowledgement arrived. (15 s, beside others)
func TestSourceMovesToTheNextGateway(t *testing.T) {
	takeTurn(t)
	if err := Needs(); err != nil {
		t.Skip(err)
	}
	// The broker stands in the world, which has the first address.
	broker := net.JoinHostPort(address(1), mqttPort)
	s := startSite(t, 3, Stream(3, 2)+fmt.Sprintf("\n[[mqtt.source]]\nurl = \"mqtt://%s\"\ntopics = [\"plant/#\"]\nqos = 1\n", broker))
	ctx := within(t, 3*stepMax)
	startMosquitto(t, s, broker)
	reader := awaitReader(t, s)
	published := make(chan error, 1)
	go func() { published <- publishTo(ctx, s, broker) }()
	for range sourceKills {
		time.Sleep(sourceMessages * time.Second / sourceRate / (sourceKills + 1)) // spread over the delivery
		was := reader
		was.Kill()
		killed := time.Now()
		reader = awaitReader(t, s)
		t.Logf("%s reads on, %s after %s died", reader.Gateway.Name, rounded(time.Since(killed)), was.Gateway.Name)
		must(t, was.Start(ctx))
	}
	must(t, <-published)
	var v rig.Verdict
	for {
		var err error
		v, err = s.Ledger.Judge(func(visit func(string, []byte)) error {
			return central.NewReader(s.Centre.Address()).Each(ctx, stream, func(r central.Record) { visit(r.Key, r.Value) })
		})
		must(t, err)
		if v.Lost == 0 || ctx.Err() != nil {
			break
		}
		time.Sleep(100 * time.Millisecond) // the broker is still delivering
	}
	t.Logf("%d messages, %d second copies over %d kills", v.Published, v.Duplicated, sourceKills)
	if v.Lost != 0 || v.Disordered != 0 || v.Invented != 0 || v.Confirmed != sourceMessages {
		t.Errorf("%d published, lost %d, out of order %d, invented %d; %s", v.Confirmed, v.Lost, v.Disordered, v.Invented, v.Example)
	}
}

func startMosquitto(t *testing.T, s *Site, broker string) {
	t.Helper()
	binary, err := exec.LookPath("mosquitto")
	if err != nil {
		if binary, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			t.Skip("needs mosquitto (Debian package mosquitto)")
		}
	}
	config := filepath.Join(t.TempDir(), "mosquitto.conf")
	must(t, os.WriteFile(config, fmt.Appendf(nil,
		"listener %s %s\nallow_anonymous true\npersistence false\nmax_queued_messages 0\nmax_inflight_messages 500\n", mqttPort, s.World.IP), 0o644))
	line := append(s.World.within(), binary, "-c", config)
	p, err := rig.Start(nil, line[0], line[1:]...)
	must(t, err)
	t.Cleanup(p.Kill)
	for ctx := within(t, stepMax); ; {
		if c, err := s.World.dial(ctx, broker); err == nil {
			c.Close()
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("mosquitto does not listen:\n%s", p.Output())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// awaitReader returns the gateway that reads from the broker, which has granted its
// subscription: what is published before that is nobody's.
func awaitReader(t *testing.T, s *Site) *Gateway {
	t.Helper()
	for ctx := within(t, stepMax); ; {
		for _, g := range s.Gateways {
			if !g.Running() {
				continue
			}
			if d, err := g.seen(ctx); err == nil && len(d.Sources) == 1 && subscribed(&d.Sources[0]) {
				return g
			}
		}
		if ctx.Err() != nil {
			t.Fatal("no gateway reads the broker")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func subscribed(s *status.Source) bool {
	return s.Connected && len(s.Subscriptions) > 0 && !slices.ContainsFunc(s.Subscriptions, func(f status.Subscription) bool { return !f.Granted })
}

// publishTo publishes numbered messages to the broker, over one connection.
func publishTo(ctx context.Context, s *Site, broker string) error {
	o := mqtt.NewClientOptions().AddBroker("tcp://" + broker).SetClientID("publisher").SetAutoReconnect(false)
	o.SetCustomOpenConnectionFn(func(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) {
		return s.World.dial(ctx, u.Host)
	})
	client := mqtt.NewClient(o)
	if t := client.Connect(); t.Wait() && t.Error() != nil {
		return t.Error()
	}
	defer client.Disconnect(100)
	pace := time.NewTicker(time.Second / sourceRate)
	defer pace.Stop()
	for sent := range sourceMessages {
		<-pace.C
		topic := fmt.Sprintf("plant/line%d", sent%7)
		seq := s.Ledger.Next(topic)
		payload := fmt.Appendf(nil, `{"seq":%d}`, seq)
		s.Ledger.Published(topic, seq, payload)
		t := client.Publish(topic, 1, false, payload)
		if !t.WaitTimeout(20*time.Second) || t.Error() != nil {
			return fmt.Errorf("message %d of %s: %w", seq, topic, t.Error())
		}
		s.Ledger.Confirmed(topic, seq)
	}
	return nil
}
