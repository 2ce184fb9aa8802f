package natssink

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"cistern/bridge/drain"
	"cistern/bridge/drain/sinktest"
	"cistern/bridge/nats"
	"cistern/gossip/porttest"
)

// central is a real NATS server with JetStream in a folder of the test.
type central struct {
	t      testing.TB
	server *server.Server
	port   int
	dir    string
	conn   *nats.Conn // of the test

	storage string // of streams; "": file
}

func newCentral(t testing.TB, edit ...func(*server.Options)) *central {
	t.Helper()
	c := &central{t: t, dir: t.TempDir(), port: porttest.Number(t)}
	c.start(edit...)
	t.Cleanup(func() { c.stop() })
	return c
}

func (c *central) start(edit ...func(*server.Options)) {
	c.t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: c.port, JetStream: true, StoreDir: c.dir, NoLog: os.Getenv("NATS_LOG") == "", NoSigs: true}
	for _, e := range edit {
		e(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		c.t.Fatal(err)
	}
	if !o.NoLog {
		s.ConfigureLogger()
	}
	s.Start()
	if !s.ReadyForConnections(sinktest.Patience) {
		c.t.Fatal("the NATS server does not start")
	}
	c.server = s
}

func (c *central) stop() {
	if c.conn != nil {
		c.conn.Close()
		<-c.conn.Done()
		c.conn = nil
	}
	c.server.Shutdown()
	c.server.WaitForShutdown()
}

func (c *central) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", c.port) }

// request asks the server over the test's own connection.
func (c *central) request(subject, body string) []byte {
	c.t.Helper()
	if c.conn == nil {
		conn, err := nats.Connect(context.Background(), nats.Config{URLs: []string{c.url()}})
		if err != nil {
			c.t.Fatal(err)
		}
		c.conn = conn
	}
	ctx, cancel := context.WithTimeout(context.Background(), sinktest.Patience)
	defer cancel()
	m, err := c.conn.Request(ctx, subject, nil, []byte(body))
	if err != nil {
		c.t.Fatalf("%s: %v", subject, err)
	}
	return m.Data
}

// atomic is what a stream needs to take groups.
const atomic_ = `"allow_atomic":true`

// stream makes a stream; more is JSON for its configuration.
func (c *central) stream(name, more string) {
	c.t.Helper()
	if more != "" {
		more = "," + more
	}
	answer := c.request("$JS.API.STREAM.CREATE."+name, fmt.Sprintf(`{"name":%q,"subjects":["%s.>"],"storage":%q,"retention":"limits"%s}`, name, name, cmp.Or(c.storage, "file"), more))
	if strings.Contains(string(answer), `"error"`) {
		c.t.Fatalf("stream: %s", answer)
	}
}

type message struct {
	Subject string `json:"subject"`
	Seq     uint64 `json:"seq"`
	Hdrs    []byte `json:"hdrs"`
	Data    []byte `json:"data"`
	header  nats.Header
}

// read returns all messages of a stream, as the server has stored them.
func (c *central) read(stream string) (all []message) {
	c.t.Helper()
	for next := uint64(1); ; {
		var answer struct {
			Message *message  `json:"message"`
			Error   *apiError `json:"error"`
		}
		body := c.request("$JS.API.STREAM.MSG.GET."+stream, fmt.Sprintf(`{"seq":%d,"next_by_subj":">"}`, next))
		if err := json.Unmarshal(body, &answer); err != nil {
			c.t.Fatal(err)
		}
		if answer.Error != nil && answer.Error.ErrCode == errCodeNoMessage {
			return all
		}
		if answer.Message == nil {
			c.t.Fatalf("reading %s at %d: %s", stream, next, body)
		}
		m := *answer.Message
		var err error
		if m.header, _, err = nats.ParseHeader(m.Hdrs); err != nil && len(m.Hdrs) > 0 {
			c.t.Fatal(err)
		}
		all = append(all, m)
		next = m.Seq + 1
	}
}

// expect says whether a stream has exactly the records of logs, each once, each
// log's in order.
func (c *central) expect(stream, when string, logs ...*sinktest.Log) {
	c.t.Helper()
	all := c.read(stream)
	total := 0
	for _, l := range logs {
		var got []string
		for _, m := range all {
			if strings.HasPrefix(string(m.Data), l.ID.String()+"@") {
				got = append(got, string(m.Data))
			}
		}
		total += len(got)
		var want []string
		for o := range l.HighWatermark() {
			want = append(want, string(l.Value(o)))
		}
		if slices.Equal(got, want) {
			continue
		}
		count := map[string]int{}
		for _, v := range got {
			count[v]++
		}
		lost, repeated := 0, 0
		for _, v := range want {
			if count[v] == 0 {
				lost++
			}
			repeated += max(0, count[v]-1)
		}
		c.t.Errorf("%s: %s: %d upstream for %d here: %d lost, %d repeated, or in another order", when, l.ID, len(got), len(want), lost, repeated)
	}
	if total != len(all) {
		c.t.Errorf("%s: %d messages are nobody's", when, len(all)-total)
	}
}

// config of a sink whose subjects are the stream's.
func (c *central) config(stream string) Config {
	return Config{Client: nats.Config{URLs: []string{c.url()}, Name: "cistern-test"}, Site: "site", Stream: stream,
		Subject: stream + ".{site}.{stream}.{partition}", Logger: sinktest.Logger()}
}

// sink makes one that returns fast.
func sink(t testing.TB, cfg Config) *Sink {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.timing.backoffMin, s.timing.backoffMax = 5*time.Millisecond, 50*time.Millisecond
	return s
}

var number atomic.Int64

// name returns one that no other test uses.
func name(what string) string { return fmt.Sprintf("%s%d", what, number.Add(1)) }

func isDown(s drain.Status) bool { return s.Uplink.State == drain.UplinkDown }

// ways are what a stream may be able to do.
var ways = map[string]string{"atomic": atomic_, "single": ""}
