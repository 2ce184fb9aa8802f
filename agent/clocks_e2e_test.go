package agent

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"cistern/agent/config"
	"cistern/gossip/porttest"
	"cistern/gossip/sitekey"
	"cistern/segstore/batch"
)

// wrong is by how much the clock of these tests runs ahead before it is set. That
// the real one is wrong, and the right time lies in the past, is all that has to
// be played: everything else is a gateway from its socket to the cluster.
const wrong = 30 * 24 * time.Hour

// unclocked is a gateway without a battery.
type unclocked struct {
	t      *testing.T
	config config.Config
	boot   string
	synced atomic.Bool
	agent  *Agent
	stop   func()
}

// start runs the agent until stop or the end of the test, and returns when devices
// are let in.
func (b *unclocked) start() {
	b.t.Helper()
	b.begin()
	await(b.t, "devices are let in", func() bool { return b.agent.mqtt.Load() != nil })
}

func (b *unclocked) begin() {
	a := New(b.config, "test", slog.New(slog.DiscardHandler))
	c := a.clock
	c.boot, c.kernel, c.now = b.boot, b.synced.Load, func() time.Time {
		if b.synced.Load() {
			return time.Now().Add(-wrong)
		}
		return time.Now()
	}
	c.state.Store(clockUnsynced)
	c.check()
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	b.agent, b.stop = a, func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Errorf("Run: %v", err)
		}
		b.stop = func() {}
	}
	b.t.Cleanup(func() { b.stop() })
}

// publish sends n records, the first with number first, and returns when they
// are confirmed. It returns when the first left and when the last was confirmed.
func (b *unclocked) publish(first, n int) (from, to time.Time) {
	b.t.Helper()
	o := paho.NewClientOptions().AddBroker("tcp://" + b.agent.mqtt.Load().Addrs()[0].String()).SetClientID("press").SetAutoReconnect(false)
	client := paho.NewClient(o)
	if token := client.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		b.t.Fatalf("connect: %v", token.Error())
	}
	defer client.Disconnect(0)
	from = time.Now()
	for i := range n {
		if token := client.Publish("plant/press", 1, false, fmt.Sprint(first+i)); !token.WaitTimeout(patience) || token.Error() != nil {
			b.t.Fatalf("publish: %v", token.Error())
		}
	}
	return from, time.Now()
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// consume returns the first n records of the cluster's topic.
func consume(t *testing.T, cluster *kfake.Cluster, n int) (all []*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("mqtt"), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(all) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(all), n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { all = append(all, r) })
	}
	return all
}

// Records that were taken before the clock was set reach the centre with the
// times at which they were taken, in order, before those that were taken after.
func TestClockIsSetRightUpstream(t *testing.T) {
	const before, after = 12, 5
	for name, tc := range map[string]struct {
		toml string
		set  func(*unclocked)
	}{
		"while the gateway runs":             {"", func(b *unclocked) { b.synced.Store(true) }},
		"while the gateway runs, re-batched": {"[uplink.rebatch]\nbytes = '64KiB'\n", func(b *unclocked) { b.synced.Store(true) }},
		"when the agent was restarted": {"", func(b *unclocked) {
			await(b.t, "the boot is noted", func() bool { _, noted := b.agent.clocks.find(b.boot); return noted })
			b.stop()
			b.synced.Store(true)
			b.start()
		}},
		"before the gateway was started again": {"", func(b *unclocked) {
			b.synced.Store(true)
			await(b.t, "the boot is learned", func() bool { boot, _ := b.agent.clocks.find(b.boot); return boot.at != 0 })
			b.stop()
			b.boot = bootName(2)
			b.start()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			port := porttest.Number(t)
			b := &unclocked{t: t, boot: bootName(1)}
			b.config = newAgent(t, tc.toml+fmt.Sprintf("[uplink.kafka]\nbrokers = ['127.0.0.1:%d']\ntopic = '{stream}'\n", port)).config
			b.start()
			from, to := b.publish(0, before)
			tc.set(b)
			await(t, "the clock is believed", func() bool { return b.agent.clock.synced() })
			b.publish(before, after)

			// The uplink comes last, as it does where it brings the time along.
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.SeedTopics(1, "mqtt"))
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			b.agent.drain.Kick()
			var records []*kgo.Record
			for _, r := range consume(t, cluster, before+after) {
				if string(r.Value) != fmt.Sprint(len(records)) {
					t.Fatalf("record %d is %q", len(records), r.Value)
				}
				records = append(records, r)
			}
			checkTimes(t, records[:before], from.Add(-wrong), to.Add(-wrong))
			for _, r := range records[before:] {
				if marked(r) || r.Timestamp.Before(to.Add(-time.Second)) {
					t.Errorf("record %s, taken when the clock was set, is of %s", r.Value, r.Timestamp)
				}
			}
			if s := b.agent.shaper.Stats(); s.Corrected == 0 || s.Unknown+s.Ahead != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// On a site everybody learns when a gateway was started, so whoever drains its
// records sets their times right.
func TestSiteLearnsBoots(t *testing.T) {
	key, err := sitekey.Generate()
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "site.key")
	if err := key.Save(keyFile); err != nil {
		t.Fatal(err)
	}
	ports := []int{porttest.Number(t), porttest.Number(t)}
	boards := make([]*unclocked, len(ports))
	for i := range boards {
		b := &unclocked{t: t, boot: bootName(i)}
		b.config = newAgent(t, fmt.Sprintf("[gateway]\nname = 'g%d'\n[site]\nkey_file = %q\ngossip = '127.0.0.1:%d'\nlisten = '127.0.0.1:0'\njoin = ['127.0.0.1:%d']\nbootstrap_expect = 2\n",
			i, keyFile, ports[i], ports[1-i])).config
		boards[i] = b
	}
	boards[1].synced.Store(true)
	for _, b := range boards {
		b.begin()
	}
	for _, b := range boards {
		await(t, "devices are let in", func() bool { return b.agent.mqtt.Load() != nil })
	}
	boards[0].publish(0, 3)
	boards[0].synced.Store(true)
	const slack = 2000
	var want int64
	await(t, "both clocks are read at once", func() bool {
		now := time.Now()
		want = now.Add(-wrong).UnixMilli() - boards[0].agent.clock.uptime().Milliseconds()
		return time.Since(now) < 100*time.Millisecond
	})
	await(t, "the other gateway knows", func() bool {
		at, ok := boards[1].agent.clocks.BootAt(bootName(0))
		return ok && at > want-slack && at < want+slack
	})
	if _, ok := boards[1].agent.site.bootAt(bootName(1)); ok {
		t.Error("a boot without marked records was told")
	}
}

// checkTimes holds the times of records against when they were really taken.
func checkTimes(t *testing.T, records []*kgo.Record, from, to time.Time) {
	t.Helper()
	const slack = time.Second
	last := time.Time{}
	for _, r := range records {
		if r.Timestamp.Before(from.Add(-slack)) || r.Timestamp.After(to.Add(slack)) || r.Timestamp.Before(last) {
			t.Errorf("record %s is of %s, taken between %s and %s, behind one of %s", r.Value, r.Timestamp, from, to, last)
		}
		if last = r.Timestamp; !marked(r) {
			t.Errorf("record %s does not say that its time was set right", r.Value)
		}
	}
}

func marked(r *kgo.Record) bool {
	for _, h := range r.Headers {
		if h.Key == batch.HeaderClock {
			return true
		}
	}
	return false
}
