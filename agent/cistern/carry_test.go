package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"cistern/agent/status"
)

const carryPatience = 30 * time.Second

// centre is a cluster in this process, with the topics that are looked at.
func centre(t *testing.T) (address string) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "mqtt"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()[0]
}

// atCentre returns what a consumer of uncommitted records sees: the values of each
// key, in order.
func atCentre(t *testing.T, address string) (byKey map[string][]string, records int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), carryPatience)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics("mqtt"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, "mqtt")
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	ends.Each(func(o kadm.ListedOffset) { total += int(o.Offset) })
	byKey = map[string][]string{}
	for records < total {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d records: %v", records, total, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			byKey[string(r.Key)] = append(byKey[string(r.Key)], string(r.Value))
			records++
		})
	}
	return byKey, records
}

// publishMany publishes n messages on a number of topics and returns when all are
// confirmed.
func (s *script) publishMany(first, n, topics int) {
	s.Helper()
	d, err := status.NewClient(filepath.Join(s.dir, "cistern-data", "cistern.sock")).Status(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	options := mqtt.NewClientOptions().AddBroker("tcp://" + d.MQTT.Listeners[0].Address).SetClientID("many").SetAutoReconnect(false)
	client := mqtt.NewClient(options)
	if token := client.Connect(); !token.WaitTimeout(carryPatience) || token.Error() != nil {
		s.Fatal("connect", token.Error())
	}
	defer client.Disconnect(0)
	var tokens []mqtt.Token
	for i := first; i < first+n; i++ {
		tokens = append(tokens, client.Publish(fmt.Sprintf("plant/%d", i%topics), 1, false, fmt.Sprint(i)))
	}
	for _, token := range tokens {
		if !token.WaitTimeout(carryPatience) || token.Error() != nil {
			s.Fatal("publish", token.Error())
		}
	}
}

func (s *script) write(name, text string) {
	s.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
}

const listener = "[[mqtt.listener]]\naddress = '127.0.0.1:0'\n"

func uplinkTo(address string) string {
	return "[uplink.kafka]\nbrokers = ['" + address + "']\ntopic = '{stream}'\n"
}

// A gateway without an uplink is carried back by hand: what it had confirmed is at
// the centre once, each device's records in order, and it drains none of it itself
// when it is back.
func TestCarriedByHand(t *testing.T) {
	for _, how := range []string{"kill", "stop"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			const n, topics = 600, 11
			address := centre(t)
			a, b := newScript(t), newScript(t)
			a.write("alone.toml", listener+"[[stream]]\nname = 'mqtt'\npartitions = 4\n")
			a.write("linked.toml", listener+uplinkTo(address)+"[[stream]]\nname = 'mqtt'\npartitions = 4\n")
			b.write("linked.toml", listener+uplinkTo(address)+"[[stream]]\nname = 'mqtt'\npartitions = 3\n")
			a.run("a", "start --config alone.toml\n")
			a.publishMany(0, n, topics)
			a.run("a", how+"\ncistern export --out carried --move\nstdout '^exported "+fmt.Sprint(n)+" records of 4 partitions'\nstdout 'will not drain them'\n")
			b.run("b", fmt.Sprintf("start --config linked.toml\ncistern import %s/carried\nstdout '^imported %d records$'\n"+
				"cistern drain --until-empty\nstdout ' 0 records left'\n", a.dir, n))
			checkCentre(t, address, n, n, topics)

			a.run("a again", "start --config linked.toml\n")
			a.publishMany(n, topics, topics) // what comes now goes by itself
			a.run("a again", "cistern drain --until-empty\ncistern drain\nstdout ' skipped'\n")
			b.run("b again", fmt.Sprintf("kill\nstart --config linked.toml\ncistern import %s/carried\nstdout '^imported 0 records; %d were taken before$'\ncistern drain --until-empty\n", a.dir, n))
			checkCentre(t, address, n, n+topics, topics)
		})
	}
}

// checkCentre wants 0 to n-1 at the centre, once; those of each topic that were
// carried, and those that were not, in order. Between the two there is no order:
// they go by different ways, and into different partitions where gateways have
// different numbers of them.
func checkCentre(t *testing.T, address string, carried, n, topics int) {
	t.Helper()
	byKey, records := atCentre(t, address)
	if records != n {
		t.Errorf("%d records at the centre, want %d", records, n)
	}
	for i := range topics {
		var want, got []string
		for v := i; v < n; v += topics {
			want = append(want, fmt.Sprint(v))
		}
		key := fmt.Sprintf("plant/%d", i)
		for _, later := range []bool{false, true} {
			for _, value := range byKey[key] {
				if v, err := strconv.Atoi(value); err != nil || later == (v >= carried) {
					got = append(got, value)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q", key, byKey[key])
		}
	}
}

// A running gateway's backlog is moved while its uplink is down: what was exported
// does not go upstream when the uplink is back, the rest does.
func TestMovedFromARunningGateway(t *testing.T) {
	const n, topics = 300, 7
	address := centre(t)
	a, b := newScript(t), newScript(t)
	a.write("down.toml", listener+uplinkTo("127.0.0.1:1"))
	a.write("up.toml", listener+uplinkTo(address))
	b.write("up.toml", listener+uplinkTo(address))
	a.run("a", "start --config down.toml\n")
	a.publishMany(0, n, topics)
	a.run("a", "cistern export --live --out carried --move\nstdout '^exported 300 records of 1 partition'\ncistern status\n! stdout DRAIN_PAUSED\n")
	a.publishMany(n, topics, topics)
	b.run("b", fmt.Sprintf("start --config up.toml\ncistern import %s/carried\ncistern drain --until-empty\n", a.dir))
	a.run("a", "stop\nstart --config up.toml\ncistern drain --until-empty\n")
	checkCentre(t, address, n, n+topics, topics)
}

// A move was broken off before the gateway knew that it shall not drain what was
// exported, and the gateway went on. When the move is ended, what it has drained
// meanwhile is not imported.
func TestMoveEndedAfterTheGatewayDrained(t *testing.T) {
	for _, how := range []string{"folder", "live"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			const n, topics = 300, 7
			address := centre(t)
			a, b := newScript(t), newScript(t)
			a.write("alone.toml", listener+"[[stream]]\nname = 'mqtt'\npartitions = 2\n")
			a.write("up.toml", listener+uplinkTo(address)+"[[stream]]\nname = 'mqtt'\npartitions = 2\n")
			b.write("up.toml", listener+uplinkTo(address))
			a.run("a", "start --config alone.toml\n")
			a.publishMany(0, n, topics)
			a.run("a", "stop\ncistern export --out carried\n")
			name := filepath.Join(a.dir, "carried", "manifest.json")
			m, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			a.write("carried/manifest.json", strings.Replace(string(m), `"partitions"`, `"move": "pending", "partitions"`, 1))
			a.run("a", "start --config up.toml\ncistern drain --until-empty\n")
			if how == "live" {
				a.run("a", "cistern export --live --move --out carried\nstdout '^note: .* drained .* meanwhile'\n! stdout 'may be at the centre'\ncistern status\n! stdout DRAIN_PAUSED\n")
			} else {
				a.run("a", "stop\ncistern export --move --out carried\nstdout '^note: .* drained .* meanwhile'\n! stdout 'may be at the centre'\n")
			}
			b.run("b", fmt.Sprintf("start --config up.toml\ncistern import %s/carried\nstdout '^imported 0 records'\ncistern drain --until-empty\n", a.dir))
			checkCentre(t, address, n, n, topics)
		})
	}
}
