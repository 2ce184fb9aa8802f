package mqttsink

import (
	"crypto/tls"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"cistern/bridge/drain"
	"cistern/bridge/drain/sinktest"
)

// broker is one that the test holds by its hand: it counts, and acknowledges what
// it is told to.
type broker struct {
	t        testing.TB
	listener net.Listener
	mute     bool // no CONNACK, no PINGRESP

	mu    sync.Mutex
	conn  net.Conn
	ids   []uint16 // that are not acknowledged, in order
	max   int      // of these, at any time
	total int
	auto  bool // acknowledge at once
}

func newBroker(t testing.TB) *broker { return newBrokerTLS(t, nil) }

func newBrokerTLS(t testing.TB, secure *tls.Config) *broker {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	b := &broker{t: t, listener: l}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() { b.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		b.mu.Lock()
		if b.conn != nil {
			b.conn.Close()
		}
		b.mu.Unlock()
		group.Wait()
	})
	return b
}

func (b *broker) serve(conn net.Conn) {
	defer conn.Close()
	b.mu.Lock()
	b.conn, b.ids = conn, nil
	b.mu.Unlock()
	for {
		p, err := packets.ReadPacket(conn)
		if err != nil {
			return
		}
		switch p := p.(type) {
		case *packets.ConnectPacket:
			if !p.CleanSession {
				b.t.Error("a session that nobody needs")
			}
			if !b.mute {
				conn.Write([]byte{packets.Connack << 4, 2, 0, 0})
			}
		case *packets.PingreqPacket:
			if !b.mute {
				conn.Write([]byte{packets.Pingresp << 4, 0})
			}
		case *packets.PublishPacket:
			b.mu.Lock()
			b.total++
			if b.auto {
				conn.Write([]byte{packets.Puback << 4, 2, byte(p.MessageID >> 8), byte(p.MessageID)})
			} else {
				b.ids = append(b.ids, p.MessageID)
				b.max = max(b.max, len(b.ids))
			}
			b.mu.Unlock()
		}
	}
}

// ack acknowledges the oldest n.
func (b *broker) ack(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range b.ids[:n] {
		b.conn.Write([]byte{packets.Puback << 4, 2, byte(id >> 8), byte(id)})
	}
	b.ids = b.ids[n:]
}

func (b *broker) counts() (open, total int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.ids), b.total
}

func (b *broker) config() Config {
	return Config{URL: "mqtt://" + b.listener.Addr().String(), ClientID: "c", Logger: sinktest.Logger()}
}

// reach waits until so many were published.
func (b *broker) reach(total int) {
	b.t.Helper()
	for deadline := time.Now().Add(sinktest.Patience); ; time.Sleep(time.Millisecond) {
		if _, n := b.counts(); n >= total {
			return
		}
		if time.Now().After(deadline) {
			_, n := b.counts()
			b.t.Fatalf("%d published, want %d", n, total)
		}
	}
}

// The window is never exceeded, and is used whole.
func TestWindow(t *testing.T) {
	b := newBroker(t)
	cfg := b.config()
	cfg.Window = 7
	l := sinktest.NewLog("s", 0).Fill(t, 1, 1)
	g := sinktest.Start(t, sink(t, cfg), sinktest.Setup{}, l)
	b.reach(1) // a session's first batch goes alone
	b.ack(1)
	g.Drained(nil, l)
	l.Fill(t, 10, 10)
	b.reach(8)
	for total := 8; total < 95; total += 3 {
		b.ack(3)
		b.reach(total + 3)
		if open, _ := b.counts(); open != 7 {
			t.Fatalf("%d unacknowledged", open)
		}
	}
	b.mu.Lock()
	b.auto = true
	b.mu.Unlock()
	open, _ := b.counts()
	b.ack(open)
	g.Drained(nil, l)
	if b.max > 7 {
		t.Errorf("%d were unacknowledged at a time", b.max)
	}
}

// Large messages fill the window by their bytes.
func TestWindowOfBytes(t *testing.T) {
	b := newBroker(t)
	l := sinktest.NewLog("s", 0)
	l.Bytes = 900_000
	l.Fill(t, 8, 1)
	g := sinktest.Start(t, sink(t, b.config()), sinktest.Setup{}, l)
	b.reach(1) // the first batch goes alone
	b.ack(1)
	b.reach(5)
	for range 7 {
		open, _ := b.counts()
		if open > WindowBytesMax/900_000 {
			t.Errorf("%d messages of 900 kB unacknowledged", open)
		}
		b.ack(1)
		_, total := b.counts()
		b.reach(min(8, total+1))
	}
	g.Drained(nil, l)
}

// Memory does not grow with the backlog.
func TestMemoryIsFlat(t *testing.T) {
	b := newBroker(t)
	b.auto = true
	l := sinktest.NewLog("s", 0)
	l.Bytes = 10_000
	l.Fill(t, 100, 50) // 50 MB of values; compressed they are nothing
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	idle, peak := heap(), uint64(0)
	g := sinktest.Start(t, sink(t, b.config()), sinktest.Setup{}, l)
	for g.Cursor(l) < l.HighWatermark() {
		peak = max(peak, heap())
		time.Sleep(30 * time.Millisecond) // between samples
	}
	t.Logf("idle %d kB, peak %d kB", idle>>10, peak>>10)
	if grown := int64(peak) - int64(idle); grown > 16<<20 {
		t.Errorf("the heap grew by %d kB", grown>>10)
	}
}

// A broker that accepts connections and says nothing is down; one that went
// silent is noticed.
func TestUplinkIsHonest(t *testing.T) {
	silent := newBroker(t)
	silent.mute = true
	s := sink(t, silent.config())
	s.timing.connect = 50 * time.Millisecond
	l := sinktest.NewLog("s", 0).Fill(t, 1, 1)
	g := sinktest.Start(t, s, sinktest.Setup{}, l)
	g.Until("it is called down", func(s drain.Status) bool { return s.Uplink.State == drain.UplinkDown })
	if up := g.Drainer.Status().Uplink; !up.LastAnswer.IsZero() || up.Mode != "at_least_once" {
		t.Errorf("%+v", up)
	}
	g.Stop()

	deaf := newBroker(t)
	s = sink(t, deaf.config())
	s.timing.answer = 50 * time.Millisecond
	g = sinktest.Start(t, s, sinktest.Setup{}, l)
	g.Until("the silence is noticed", func(s drain.Status) bool {
		return strings.Contains(s.Uplink.LastError, "did not acknowledge")
	})
	g.Stop()
}

// What a broker may not send ends the connection, and nothing else.
func TestHostileBroker(t *testing.T) {
	for what, bytes := range map[string]string{
		"endless length":   "\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
		"huge packet":      "\x30\xff\xff\xff\x7f",
		"suback":           "\x20\x02\x00\x00\x90\x04\x00\x01\x00\x00",
		"long puback":      "\x20\x02\x00\x00\x40\x7f",
		"second connack":   "\x20\x02\x00\x00\x20\x02\x00\x00",
		"unknown code":     "\x20\x02\x00\x63",
		"puback at first":  "\x40\x02\x00\x01",
		"not MQTT":         "HTTP/1.1 400 Bad Request\r\n\r\n",
		"unexpected flags": "\x20\x02\x00\x00\x4f\x02\x00\x01",
	} {
		t.Run(what, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var group sync.WaitGroup
			group.Go(func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					packets.ReadPacket(conn) // CONNECT
					conn.Write([]byte(bytes))
					time.AfterFunc(20*time.Millisecond, func() { conn.Close() })
				}
			})
			defer group.Wait()
			defer l.Close()
			s := sink(t, Config{URL: "mqtt://" + l.Addr().String(), ClientID: "c", Logger: sinktest.Logger()})
			g := sinktest.Start(t, s, sinktest.Setup{}, sinktest.NewLog("s", 0).Fill(t, 1, 1))
			g.Until("it is noticed", func(s drain.Status) bool { return s.Uplink.LastError != "" })
			g.Stop()
		})
	}
}

func TestTLS(t *testing.T) {
	own, good, stranger := sinktest.TLS(t)
	b := newBrokerTLS(t, own)
	b.auto = true
	l := sinktest.NewLog("s", 0).Fill(t, 2, 4)
	cfg := b.config()
	cfg.URL = strings.Replace(cfg.URL, "mqtt:", "mqtts:", 1)
	cfg.TLS = stranger
	g := sinktest.Start(t, sink(t, cfg), sinktest.Setup{}, l)
	g.Until("a stranger is refused", func(s drain.Status) bool { return strings.Contains(s.Uplink.LastError, "unknown authority") })
	g.Stop()
	cfg.TLS = good
	g = sinktest.Start(t, sink(t, cfg), sinktest.Setup{}, l)
	g.Drained(nil, l)
}

func TestConfigMistakes(t *testing.T) {
	_, good, _ := sinktest.TLS(t)
	for what, c := range map[string]Config{
		"no url":         {ClientID: "c"},
		"scheme":         {URL: "tcp://h", ClientID: "c"},
		"user in url":    {URL: "mqtt://u@h", ClientID: "c"},
		"no client id":   {URL: "mqtt://h"},
		"TLS in clear":   {URL: "mqtt://h", ClientID: "c", TLS: good},
		"qos":            {URL: "mqtt://h", ClientID: "c", QoS: 3},
		"window":         {URL: "mqtt://h", ClientID: "c", Window: 70000},
		"prefix":         {URL: "mqtt://h", ClientID: "c", Prefix: "a/#/"},
		"prefix of $SYS": {URL: "mqtt://h", ClientID: "c", Prefix: "$SYS/"},
		"password only":  {URL: "mqtt://h", ClientID: "c", Password: "p"},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	if s, err := New(Config{URL: "mqtts://h", ClientID: "c"}); err != nil || s.address != "h:8883" || s.cfg.TLS.ServerName != "h" {
		t.Errorf("%v", err)
	}
}
