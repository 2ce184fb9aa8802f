package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats-server/v2/server"

	"cistern/bridge/nats"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// drains runs the agent's drain and appends a record.
func (a *Agent) drains(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.drain.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	a.append(t, metadata.PartitionID{Stream: "mqtt"}, batch.Record{Key: []byte("plant/t"), Value: []byte("21.5")})
}

func secretFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// What the file says about NATS leads to a sink that works, against a server that
// asks for a password.
func TestNATSUplink(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
		Username: "cistern", Password: "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	url := "nats://" + s.Addr().String()
	c, err := nats.Connect(t.Context(), nats.Config{URLs: []string{url}, User: "cistern", Password: "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Request(t.Context(), "$JS.API.STREAM.CREATE.CENTRAL", nil, []byte(`{"name":"CENTRAL","subjects":["cistern.>"],"allow_atomic":true}`)); err != nil {
		t.Fatal(err)
	}
	a := open(t, fmt.Sprintf("[[stream]]\nname = 'mqtt'\n[uplink.nats]\nurls = [%q]\nstream = 'CENTRAL'\nuser = 'cistern'\npassword_file = %q\n", url, secretFile(t, "s3cret")))
	a.drains(t)
	var answer struct{ Message struct{ Data []byte } }
	eventually(t, func() bool {
		m, err := c.Request(t.Context(), "$JS.API.STREAM.MSG.GET.CENTRAL", nil, []byte(`{"last_by_subj":"cistern.default.mqtt.0"}`))
		return err == nil && json.Unmarshal(m.Data, &answer) == nil && string(answer.Message.Data) == "21.5"
	})
}

// The same for MQTT, against Mosquitto.
func TestMQTTUplink(t *testing.T) {
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto"
		if _, err := os.Stat(path); err != nil {
			t.Skip("mosquitto is not installed (Debian package mosquitto)")
		}
	}
	dir := t.TempDir()
	if out, err := exec.Command("mosquitto_passwd", "-b", "-c", dir+"/users", "cistern", "s3cret").CombinedOutput(); err != nil {
		t.Skipf("mosquitto_passwd: %v %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	conf := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous false\npassword_file %s/users\n", address[strings.LastIndex(address, ":")+1:], dir)
	if os.Getuid() == 0 {
		conf += "user root\n"
	}
	if err := os.WriteFile(dir+"/conf", []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	broker := exec.Command(path, "-c", dir+"/conf")
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	defer broker.Wait()
	defer broker.Process.Kill()
	came := make(chan string, 1)
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + address).SetUsername("cistern").SetPassword("s3cret").SetAutoReconnect(false))
	eventually(t, func() bool { token := c.Connect(); token.Wait(); return token.Error() == nil })
	defer c.Disconnect(0)
	c.Subscribe("central/#", 1, func(_ mqtt.Client, m mqtt.Message) { came <- m.Topic() + " " + string(m.Payload()) }).Wait()
	a := open(t, fmt.Sprintf("[[stream]]\nname = 'mqtt'\n[uplink.mqtt]\nurl = 'mqtt://%s'\nuser = 'cistern'\npassword_file = %q\nprefix = 'central/'\n", address, secretFile(t, "s3cret")))
	a.drains(t)
	select {
	case got := <-came:
		if got != "central/plant/t 21.5" {
			t.Errorf("got %q", got)
		}
	case <-time.After(patience):
		t.Errorf("nothing came: %+v", a.drain.Status().Uplink)
	}
}

// Mistakes show at the start.
func TestUplinkSecretsMissing(t *testing.T) {
	for _, toml := range []string{
		"[uplink.mqtt]\nurl = 'mqtt://127.0.0.1:1'\nuser = 'u'\npassword_file = '/nowhere'\n",
		"[uplink.mqtt]\nurl = 'mqtts://127.0.0.1:1'\n[uplink.mqtt.tls]\nca_file = '/nowhere'\n",
		"[uplink.nats]\nurls = ['nats://127.0.0.1:1']\nstream = 'S'\ncreds_file = '/nowhere'\n",
		"[uplink.nats]\nurls = ['nats://127.0.0.1:1']\nstream = 'S'\nuser = 'u'\npassword_file = '/nowhere'\n",
	} {
		a := newAgent(t, "[[stream]]\nname = 'mqtt'\n"+toml)
		if _, err := a.newSink(); err == nil || !strings.Contains(err.Error(), "/nowhere") {
			t.Errorf("%s: %v", toml, err)
		}
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}
