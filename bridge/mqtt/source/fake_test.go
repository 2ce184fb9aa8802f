package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/ingest"
)

// The tests around a scripted broker run in a synctest bubble: connections are
// pipes, time is fake, and a goroutine that outlives Run fails the test.

// broker is the other end of the source's connections.
type broker struct {
	t     *testing.T
	dials chan *peer
}

// peer is one connection, seen from the broker.
type peer struct {
	t    *testing.T
	conn net.Conn
	in   chan packets.ControlPacket // closed with the connection
	mute atomic.Bool                // answer no PINGREQ
}

func newBroker(t *testing.T) *broker { return &broker{t: t, dials: make(chan *peer)} }

func (b *broker) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p := &peer{t: b.t, conn: ours, in: make(chan packets.ControlPacket, 100_000)}
	go p.read()
	select {
	case b.dials <- p:
		return theirs, nil
	case <-ctx.Done():
		ours.Close()
		return nil, ctx.Err()
	}
}

func (p *peer) read() {
	defer close(p.in)
	for {
		packet, err := packets.ReadPacket(p.conn)
		if err != nil {
			return
		}
		if _, ok := packet.(*packets.PingreqPacket); ok {
			if !p.mute.Load() {
				packets.NewControlPacket(packets.Pingresp).Write(p.conn)
			}
			continue
		}
		p.in <- packet
		if _, ok := packet.(*packets.DisconnectPacket); ok {
			p.conn.Close()
		}
	}
}

func (p *peer) send(packet packets.ControlPacket) error { return packet.Write(p.conn) }

// accept waits for a connection and answers CONNECT.
func (b *broker) accept(session bool) *peer {
	b.t.Helper()
	p := <-b.dials
	connect := expect[*packets.ConnectPacket](p)
	if connect.CleanSession || connect.ClientIdentifier != "gateway-1" || connect.ProtocolVersion != 4 {
		b.t.Errorf("CONNECT %v: want a lasting session of gateway-1, MQTT 3.1.1", connect)
	}
	ack := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	ack.SessionPresent = session
	p.send(ack)
	return p
}

// serve accepts and grants every subscription.
func (b *broker) serve(session bool) *peer {
	b.t.Helper()
	p := b.accept(session)
	subscribe := expect[*packets.SubscribePacket](p)
	p.suback(subscribe.MessageID, subscribe.Qoss...)
	return p
}

func (p *peer) suback(id uint16, codes ...byte) error {
	ack := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
	ack.MessageID, ack.ReturnCodes = id, codes
	return p.send(ack)
}

func expect[T packets.ControlPacket](p *peer) T {
	p.t.Helper()
	packet, ok := <-p.in
	if !ok {
		p.t.Fatal("the source closed the connection")
	}
	wanted, ok := packet.(T)
	if !ok {
		p.t.Fatalf("the source sent %v, want %T", packet, wanted)
	}
	return wanted
}

// acks takes what has come in so far and returns the ids of its PUBACKs.
func (p *peer) acks() (ids []uint16) {
	p.t.Helper()
	for {
		select {
		case packet, ok := <-p.in:
			if !ok {
				return ids
			}
			if ack, ok := packet.(*packets.PubackPacket); ok {
				ids = append(ids, ack.MessageID)
				continue
			}
			if _, ok := packet.(*packets.DisconnectPacket); !ok {
				p.t.Errorf("unexpected %v", packet)
			}
		default:
			return ids
		}
	}
}

type publishOption func(*packets.PublishPacket)

func retained(p *packets.PublishPacket) { p.Retain = true }
func on(topic string) publishOption     { return func(p *packets.PublishPacket) { p.TopicName = topic } }
func qos(q byte) publishOption          { return func(p *packets.PublishPacket) { p.Qos = q } }
func payload(b []byte) publishOption    { return func(p *packets.PublishPacket) { p.Payload = b } }

// publish sends QoS 1 messages whose packet id and payload are from..to.
func (p *peer) publish(from, to int, options ...publishOption) error {
	for i := from; i <= to; i++ {
		m := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		m.TopicName, m.Qos, m.MessageID, m.Payload = "plant/temp", 1, uint16(i), fmt.Append(nil, i)
		for _, o := range options {
			o(m)
		}
		if err := p.send(m); err != nil {
			return err
		}
	}
	return nil
}

// raw sends bytes no library would write.
func (p *peer) raw(b ...byte) { p.conn.Write(b) }

// closed waits until the source has closed the connection.
func (p *peer) closed() {
	for range p.in {
	}
}

// memory is an Appender. It commits at once, or when told to.
type memory struct {
	mu      sync.Mutex
	records []string // values, in order of Append
	topics  []string
	pending []completion
	manual  bool
	refuse  error
	calls   int
}

type completion struct {
	c   ingest.Completion
	seq uint64
}

func (a *memory) Append(_ context.Context, _ metadata.PartitionID, r *batch.Record, c ingest.Completion, seq uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	if a.refuse != nil {
		return a.refuse
	}
	if len(r.Value) > 900_000 {
		return fmt.Errorf("record of %d bytes: %w", len(r.Value), ingest.ErrTooLarge)
	}
	a.records = append(a.records, string(r.Value))
	a.topics = append(a.topics, string(r.Key))
	a.pending = append(a.pending, completion{c, seq})
	if !a.manual {
		go a.commit(nil)
	}
	return nil
}

// commit completes everything that is pending, the latest first.
func (a *memory) commit(err error) {
	a.mu.Lock()
	pending := a.pending
	a.pending = nil
	a.mu.Unlock()
	for i := len(pending) - 1; i >= 0; i-- {
		if p := pending[i]; p.c.Complete(p.seq, int64(p.seq), err) {
			p.c.Flush()
		}
	}
}

func (a *memory) set(change func(*memory)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a)
}

func (a *memory) stored() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.records...)
}

// plain routes everything to one partition, but topics below bad/.
type plain struct{}

func (plain) Map(topic string, payload []byte, _ byte, _, _ bool, r *batch.Record) (metadata.PartitionID, error) {
	if strings.HasPrefix(topic, "bad/") {
		return metadata.PartitionID{}, errors.New("no route takes it")
	}
	r.Key, r.Value, r.Timestamp = []byte(topic), payload, time.Now().UnixMilli()
	return metadata.PartitionID{Stream: metadata.DefaultStream}, nil
}

var testConfig = Config{URL: "mqtt://broker", ClientID: "gateway-1", Topics: []string{"plant/#"}, QoS: 1, Window: 10}

// start runs a source against a scripted broker. It ends with the test.
func start(t *testing.T, config Config, a Appender) (*Source, *broker, func()) {
	t.Helper()
	s, err := New(config, plain{}, a, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b := newBroker(t)
	s.dialNet = b.dial
	return s, b, run(t, s)
}

// run starts s and returns what stops it and waits for its end.
func run(t *testing.T, s *Source) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func numbers(from, to int) (s []string) {
	for i := from; i <= to; i++ {
		s = append(s, fmt.Sprint(i))
	}
	return s
}

// firstCopies is s without what is there already.
func firstCopies(s []string) (first []string) {
	seen := make(map[string]bool)
	for _, v := range s {
		if !seen[v] {
			seen[v] = true
			first = append(first, v)
		}
	}
	return first
}

func ids(from, to int) (s []uint16) {
	for i := from; i <= to; i++ {
		s = append(s, uint16(i))
	}
	return s
}

func large(n int) []byte { return bytes.Repeat([]byte("x"), n) }
