package kafka

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

func newClient(t *testing.T, opts ...kfake.Opt) (*Client, *kfake.Cluster) {
	t.Helper()
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	c, err := New(Config{Brokers: cluster.ListenAddrs(), ClientID: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, cluster
}

func TestClient(t *testing.T) {
	for name, opts := range map[string][]kfake.Opt{"2.8": {kfake.MaxVersions(kversion.V2_8_0())}, "latest": nil} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			c, _ := newClient(t, append(opts, kfake.NumBrokers(3), kfake.ClusterID("the-cluster"))...)
			cluster, err := c.Metadata(ctx, "made")
			if err != nil {
				t.Fatal(err)
			}
			if cluster.ID != "the-cluster" || len(cluster.Brokers) != 3 || !errors.Is(cluster.Topics["made"].Err, kerr.UnknownTopicOrPartition) {
				t.Errorf("metadata: %+v", cluster)
			}
			if err := c.CreateTopic(ctx, "made", 4, -1); err != nil {
				t.Fatal(err)
			}
			if err := c.CreateTopic(ctx, "made", 4, -1); !errors.Is(err, kerr.TopicAlreadyExists) {
				t.Errorf("creating it twice: %v", err)
			}
			if cluster, err = c.Metadata(ctx, "made"); err != nil || len(cluster.Topics["made"].Partitions) != 4 {
				t.Fatalf("metadata: %+v, %v", cluster, err)
			}
			leader := cluster.Topics["made"].Partitions[2].Leader
			for _, which := range []int64{Earliest, Latest} {
				if offset, err := c.Offset(ctx, leader, "made", 2, which); offset != 0 || err != nil {
					t.Errorf("offset %d: %d, %v", which, offset, err)
				}
			}
			if _, err := c.Fetch(ctx, leader, "made", 2, 5, 1000); !errors.Is(err, kerr.OffsetOutOfRange) {
				t.Errorf("fetching beyond the end: %v", err)
			}
			config, err := c.TopicConfig(ctx, "made")
			if err != nil || config.MessageBytesMax != 1048588 || config.LogAppendTime {
				t.Errorf("topic config: %+v, %v", config, err)
			}
			if id, epoch, err := c.InitProducerID(ctx); id < 0 || epoch != 0 || err != nil {
				t.Errorf("producer id %d, epoch %d, %v", id, epoch, err)
			}
		})
	}
}

func TestClientNoBroker(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	c, err := New(Config{Brokers: []string{dead.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Metadata(t.Context()); !errors.Is(err, ErrNoBroker) || !strings.Contains(err.Error(), dead.Addr().String()) {
		t.Errorf("no broker: %v", err)
	}
	if _, err := c.Connect(t.Context(), 3); !errors.Is(err, ErrUnknownBroker) {
		t.Errorf("unknown broker: %v", err)
	}
}

// TestClientSilentBroker: a port that accepts and never speaks.
func TestClientSilentBroker(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c, err := New(Config{Brokers: []string{silent.Addr().String()}, DialTimeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Metadata(t.Context()); !errors.Is(err, ErrNoBroker) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent broker: %v", err)
	}
}

func TestClientTooOld(t *testing.T) {
	c, _ := newClient(t, kfake.MaxVersions(kversion.V0_10_2()))
	if _, err := c.Metadata(t.Context()); !errors.Is(err, ErrTooOld) || !strings.Contains(err.Error(), "Produce") && !strings.Contains(err.Error(), "Metadata") {
		t.Errorf("Kafka 0.10: %v", err)
	}
	c, _ = newClient(t, kfake.MaxVersions(kversion.V2_3_0()))
	if _, err := c.Metadata(t.Context()); err != nil {
		t.Errorf("Kafka 2.3: %v", err)
	}
	if _, _, err := c.InitProducerID(t.Context()); !errors.Is(err, ErrTooOld) || !strings.Contains(err.Error(), "InitProducerID") {
		t.Errorf("a producer id of Kafka 2.3: %v", err)
	}
	versions, err := c.Versions(t.Context())
	if _, known := versions[kmsg.InitProducerID]; known || versions[kmsg.Produce] != 7 || err != nil {
		t.Errorf("Kafka 2.3 speaks %v, %v", versions, err)
	}
}

func TestSettle(t *testing.T) {
	offer := func(change func(map[kmsg.Key]Span)) []kmsg.ApiVersionsResponseApiKey {
		all := map[kmsg.Key]Span{}
		for k, s := range spoken {
			all[k] = Span{0, s.Max + 5}
		}
		change(all)
		var keys []kmsg.ApiVersionsResponseApiKey
		for k, s := range all {
			keys = append(keys, kmsg.ApiVersionsResponseApiKey{ApiKey: int16(k), MinVersion: s.Min, MaxVersion: s.Max})
		}
		return keys
	}
	v, err := settle(offer(func(m map[kmsg.Key]Span) { delete(m, kmsg.DescribeProducers); m[kmsg.Produce] = Span{3, 8} }))
	if err != nil || v[kmsg.Produce] != 8 || v[kmsg.Fetch] != 12 {
		t.Errorf("settled on %v, %v", v, err)
	}
	if _, err := v.of(kmsg.NewPtrDescribeProducersRequest()); !errors.Is(err, ErrTooOld) {
		t.Errorf("a request the broker does not know: %v", err)
	}
	for name, s := range map[string]Span{"below": {0, 2}, "above": {10, 13}} {
		if _, err := settle(offer(func(m map[kmsg.Key]Span) { m[kmsg.Produce] = s })); !errors.Is(err, ErrTooOld) {
			t.Errorf("Produce %s what we speak: %v", name, err)
		}
	}
}

func TestReadMetadataRefuses(t *testing.T) {
	name := "t"
	partition := func(n int32) kmsg.MetadataResponseTopicPartition {
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Partition = n
		return p
	}
	for what, partitions := range map[string][]kmsg.MetadataResponseTopicPartition{
		"negative": {partition(-1)},
		"too high": {partition(0), partition(2)},
		"twice":    {partition(0), partition(0)},
	} {
		resp := kmsg.NewPtrMetadataResponse()
		resp.Topics = []kmsg.MetadataResponseTopic{{Topic: &name, Partitions: partitions}}
		if _, err := readMetadata(resp); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []Config{
		{},
		{Brokers: []string{"host"}},
		{Brokers: []string{":9092"}},
		{Brokers: []string{"host:0"}},
		{Brokers: []string{"host:kafka"}},
		{Brokers: make([]string, SeedsMax+1)},
		{Brokers: []string{"host:1"}, RequestTimeout: -1},
		{Brokers: []string{"host:1"}, SASL: &SASL{Mechanism: "GSSAPI", User: "u"}},
		{Brokers: []string{"host:1"}, SASL: &SASL{Mechanism: Plain}},
	} {
		if err := c.Validate(); err == nil {
			t.Errorf("%+v is called valid", c)
		}
	}
	for _, addr := range []string{"kafka.example.com:9092", "[::1]:9092", "10.0.0.1:65535"} {
		if err := (&Config{Brokers: []string{addr}}).Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestRetention(t *testing.T) {
	for value, want := range map[string]time.Duration{"1000": time.Second, "-1": -1, "9223372036854775807": -1, "x": 0} {
		if got := retention(value); got != want {
			t.Errorf("retention.ms %s is read as %v, want %v", value, got, want)
		}
	}
}
