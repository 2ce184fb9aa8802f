//go:build kafka

package kafka

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	bridge "cistern/bridge/kafka"
	"cistern/cross/rig"
	"cistern/cross/rig/rigtest"
)

// dirs: jars are kept with the build, what the tests write is not.
const libsDir = "../../build/kafka"

var (
	libs     *Libs
	programs rig.Programs
	shared   *Broker // for tests that leave it as they found it
	names    atomic.Int64
)

func TestMain(m *testing.M) {
	rigtest.Main(m, prepare, func() {
		if shared != nil {
			shared.Kill()
		}
	})
}

func prepare(ctx context.Context, dir string) (err error) {
	if libs, err = FetchLibs(ctx, libsDir, func(f string, a ...any) { fmt.Printf(f+"\n", a...) }); err != nil {
		return err
	}
	if programs, err = rig.BuildPrograms(ctx, dir); err != nil {
		return err
	}
	if shared, err = NewBroker(ctx, libs, Options{Dir: filepath.Join(dir, "shared")}); err != nil {
		return err
	}
	return shared.Start(ctx)
}

// startBroker starts a broker of the test's own.
func startBroker(t *testing.T, properties map[string]string) *Broker {
	t.Helper()
	b, err := NewBroker(t.Context(), libs, Options{Dir: t.TempDir(), Properties: properties})
	must(t, err)
	t.Cleanup(b.Kill)
	must(t, b.Start(t.Context()))
	return b
}

var must, within = rigtest.Must, rigtest.Within

// admin returns a client of a broker for what only tests do.
func admin(t *testing.T, b *Broker) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.MetadataMinAge(askEvery)) // what it knows is to be of now
	must(t, err)
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// topic creates a topic of one partition whose name no other test uses.
func topic(t *testing.T, b *Broker, what string) string {
	t.Helper()
	name := fmt.Sprintf("%s-%d", what, names.Add(1))
	_, err := admin(t, b).CreateTopic(within(t, patience), 1, 1, nil, name)
	must(t, err)
	return name
}

// patience is how long a test waits for an event before it calls it missing.
const patience = 60 * time.Second

// state is a drain.State that can crash.
type state struct {
	mu      sync.Mutex
	durable map[string][]byte
	latest  map[string][]byte
}

func newState() *state { return &state{durable: map[string][]byte{}, latest: map[string][]byte{}} }

func (s *state) Get(key string) []byte { s.mu.Lock(); defer s.mu.Unlock(); return s.latest[key] }

func (s *state) Put(key string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest[key] = value
}

func (s *state) PutSync(key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest[key], s.durable[key] = value, value
	return nil
}

// survive returns what a crash at this moment would leave.
func (s *state) survive() *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &state{durable: maps.Clone(s.durable), latest: maps.Clone(s.durable)}
}

// newProducer takes a producer id that nobody uses.
func newProducer(t *testing.T, b *Broker) (int64, error) {
	client, err := bridge.New(bridge.Config{Brokers: []string{b.Addr()}})
	must(t, err)
	defer client.Close()
	id, _, err := client.InitProducerID(within(t, patience))
	return id, err
}
