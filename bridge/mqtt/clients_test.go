package mqtt

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// Other people's clients.

func TestPaho(t *testing.T) {
	g := start(t)
	g.store.auto = true
	got := make(chan string, 100)
	options := paho.NewClientOptions().AddBroker("tcp://" + g.addr).SetClientID("paho").SetAutoReconnect(false)
	options.SetWill("gone", "x", 1, true)
	c := paho.NewClient(options)
	wait := func(token paho.Token) {
		t.Helper()
		if !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatalf("%v", token.Error())
		}
	}
	wait(c.Connect())
	defer c.Disconnect(0)
	wait(c.Subscribe("plant/+/temp", 1, func(_ paho.Client, m paho.Message) { got <- m.Topic() + " " + string(m.Payload()) }))
	for qos := range byte(3) {
		wait(c.Publish(fmt.Sprint("plant/", qos, "/temp"), qos, false, fmt.Sprint(qos)))
		select {
		case m := <-got:
			if want := fmt.Sprintf("plant/%d/temp %d", qos, qos); m != want {
				t.Errorf("got %q, want %q", m, want)
			}
		case <-time.After(patience):
			t.Fatalf("QoS %d was not delivered", qos)
		}
	}
	wait(c.Unsubscribe("plant/+/temp"))
}

func TestMosquittoClients(t *testing.T) {
	for _, tool := range []string{"mosquitto_pub", "mosquitto_sub"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian package mosquitto-clients)", tool)
		}
	}
	for _, version := range []string{"mqttv311", "mqttv5"} {
		t.Run(version, func(t *testing.T) {
			g := start(t)
			g.store.auto = true
			host, port, err := net.SplitHostPort(g.addr)
			if err != nil {
				t.Fatal(err)
			}
			common := []string{"-h", host, "-p", port, "-V", version}
			var out bytes.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), 6*patience) // five processes start
			defer cancel()
			sub := exec.CommandContext(ctx, "mosquitto_sub", append(common, "-t", "plant/#", "-q", "1", "-v", "-C", "4")...)
			sub.Stdout = &out
			if err := sub.Start(); err != nil {
				t.Fatal(err)
			}
			for g.tails() == 0 && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			for _, qos := range []string{"0", "1", "2"} {
				args := append(common, "-t", "plant/line3/temp", "-q", qos, "-m", "reading "+qos)
				if report, err := exec.Command("mosquitto_pub", args...).CombinedOutput(); err != nil {
					t.Fatalf("mosquitto_pub -q %s: %v: %s", qos, err, report)
				}
			}
			args := append(common, "-t", "plant/retained", "-q", "1", "-r", "-m", "kept", "--will-topic", "gone", "--will-payload", "x", "--will-retain")
			if report, err := exec.Command("mosquitto_pub", args...).CombinedOutput(); err != nil {
				t.Fatalf("retained: %v: %s", err, report)
			}
			if err := sub.Wait(); err != nil {
				t.Error(err)
			}
			want := "plant/line3/temp reading 0\nplant/line3/temp reading 1\nplant/line3/temp reading 2\nplant/retained kept\n"
			if out.String() != want {
				t.Errorf("got %q", out.String())
			}
		})
	}
}

func TestMosquittoPubIsToldOfRefusal(t *testing.T) {
	if _, err := exec.LookPath("mosquitto_pub"); err != nil {
		t.Skip("mosquitto_pub is not installed (Debian package mosquitto-clients)")
	}
	g := start(t, func(c *Config) { c.Routes = []Route{{Filter: "plant/#", Stream: "mqtt"}} })
	host, port, _ := net.SplitHostPort(g.addr)
	report, err := exec.Command("mosquitto_pub", "-h", host, "-p", port, "-V", "mqttv5", "-t", "other", "-q", "1", "-m", "x").CombinedOutput()
	if !strings.Contains(strings.ToLower(string(report)), "topic name invalid") {
		t.Errorf("%v: %s", err, report)
	}
}
