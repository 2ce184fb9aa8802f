package central

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// start serves a stand-in until the test ends or stop is called.
func start(t *testing.T, o Options) (address string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- Serve(ctx, o, func(a string) { ready <- a }) }()
	select {
	case address = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return address, stop
}

func produce(t *testing.T, address, topic string, n int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range n {
		r := &kgo.Record{Topic: topic, Key: []byte("a/b"), Value: fmt.Appendf(nil, "%d", i)}
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadsBackWhatSurvivedARestart(t *testing.T) {
	o := Options{Listen: "127.0.0.1:0", Dir: t.TempDir(), Partitions: 1}
	address, stop := start(t, o)
	produce(t, address, "plant", 7)
	stop()

	address, _ = start(t, o)
	r := NewReader(address)
	var got []string
	err := r.Each(t.Context(), "plant", func(k Record) {
		got = append(got, fmt.Sprintf("%d %s=%s", k.Offset, k.Key, k.Value))
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 7 || got[0] != "0 a/b=0" || got[6] != "6 a/b=6" {
		t.Errorf("read %q", got)
	}
	if n, err := r.Count(t.Context(), "plant"); n != 7 || err != nil {
		t.Errorf("Count = %d, %v; want 7", n, err)
	}
	if n, err := r.Count(t.Context(), "never-written"); n != 0 || err != nil {
		t.Errorf("Count of an unknown topic = %d, %v; want 0", n, err)
	}
}

// A client has to be led to the advertised address, or a proxy in front would
// be asked once and never again.
func TestMetadataPointsToTheAdvertisedAddress(t *testing.T) {
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	address, _ := start(t, Options{Listen: "127.0.0.1:0", Advertise: front.Addr().String()})

	accepted := make(chan struct{}, 1)
	go func() {
		if c, err := front.Accept(); err == nil {
			c.Close()
			accepted <- struct{}{}
		}
	}()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client.Produce(ctx, &kgo.Record{Topic: "plant", Value: []byte("x")}, nil)
	<-accepted
}

func TestRefusesToListenBeyondLoopback(t *testing.T) {
	err := Serve(t.Context(), Options{Listen: "0.0.0.0:0"}, func(string) { t.Error("it listens") })
	if err == nil {
		t.Error("no error")
	}
}
