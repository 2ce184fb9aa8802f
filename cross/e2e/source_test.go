//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"cistern/agent/status"
	"cistern/cross/rig"
)

const (
	sourceMessages = 10_000
	sourceKills    = 30
	sourceRate     = 2000 // messages a second
)

// A site that has a broker already: a real Mosquitto delivers 10,000 messages
// while the agent is killed 30 times. The broker keeps what the agent did not
// acknowledge, so nothing may be missing and, first copies taken, nothing out
// of order. A redelivery that had been stored is a second copy here: MQTT has
// no way to tell, and QoS 1 says so.
func TestSourceOutlivesKills(t *testing.T) {
	broker := startMosquitto(t)
	s, l := startSite(t, "", fmt.Sprintf("[[mqtt.source]]\nurl = \"mqtt://%s\"\nclient_id = \"cistern-e2e\"\ntopics = [\"plant/#\"]\nqos = 1\n", broker)), rig.NewLedger()
	ctx := within(t, 4*time.Minute)
	awaitSource(t, s)

	published := make(chan error, 1)
	go func() { published <- publishSource(broker, l) }()
	for range sourceKills {
		time.Sleep(sourceMessages * time.Second / sourceRate / sourceKills) // spread over the delivery
		s.Gateway.Kill()
		must(t, s.Gateway.Start(ctx))
	}
	must(t, <-published)

	var v rig.Verdict
	for {
		must(t, s.Gateway.AwaitDrained(within(t, time.Minute), nil))
		var err error
		v, err = s.Centre.Judge(ctx, l, stream)
		must(t, err)
		if v.Lost == 0 || ctx.Err() != nil {
			break
		}
		time.Sleep(200 * time.Millisecond) // the broker is still delivering
	}
	t.Logf("%d messages, %d second copies over %d kills", v.Published, v.Duplicated, sourceKills)
	if v.Lost != 0 || v.Disordered != 0 || v.Invented != 0 || v.Confirmed != sourceMessages {
		t.Errorf("%d published, lost %d, out of order %d, invented %d; %s", v.Confirmed, v.Lost, v.Disordered, v.Invented, v.Example)
	}
}

// startMosquitto runs a broker with its silent limits lifted: by default it
// drops what queues beyond 1000 messages for a client that is away.
func startMosquitto(t *testing.T) string {
	t.Helper()
	binary := program(t, "mosquitto", "mosquitto")
	address, err := rig.FreeAddress()
	must(t, err)
	_, port, err := net.SplitHostPort(address)
	must(t, err)
	config := filepath.Join(t.TempDir(), "mosquitto.conf")
	must(t, os.WriteFile(config, fmt.Appendf(nil,
		"listener %s 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\nmax_inflight_messages 500\n", port), 0o644))
	p, err := rig.Start(nil, binary, "-c", config)
	must(t, err)
	t.Cleanup(p.Kill)
	for ctx := within(t, 10*time.Second); ; {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return address
		}
		select {
		case <-ctx.Done():
			t.Fatalf("mosquitto does not listen:\n%s", p.Output())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// awaitSource returns when the gateway has subscribed: what is published
// before that is nobody's.
func awaitSource(t *testing.T, s *rig.Site) {
	t.Helper()
	for ctx := within(t, 20*time.Second); ; {
		if now, err := s.Gateway.Status(ctx); err == nil && len(now.Sources) == 1 && subscribed(&now.Sources[0]) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal("the gateway does not reach the broker")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func subscribed(s *status.Source) bool {
	return s.Connected && len(s.Subscriptions) > 0 && !slices.ContainsFunc(s.Subscriptions, func(f status.Subscription) bool { return !f.Granted })
}

// publishSource publishes numbered messages to the broker, over one connection
// that nobody kills.
func publishSource(broker string, l *rig.Ledger) error {
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + broker).SetClientID("publisher").SetAutoReconnect(false))
	if t := client.Connect(); t.Wait() && t.Error() != nil {
		return t.Error()
	}
	defer client.Disconnect(100)
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	for sent := 0; sent < sourceMessages; {
		<-pace.C
		for range sourceRate / 100 {
			topic := fmt.Sprintf("plant/line%d", sent%7)
			seq := l.Next(topic)
			payload := fmt.Appendf(nil, `{"seq":%d}`, seq)
			l.Published(topic, seq, payload)
			t := client.Publish(topic, 1, false, payload)
			if !t.WaitTimeout(20*time.Second) || t.Error() != nil {
				return fmt.Errorf("message %d of %s: %w", seq, topic, t.Error())
			}
			l.Confirmed(topic, seq)
			sent++
		}
	}
	return nil
}
