package source

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Each of these is sent where a correct broker would answer SUBSCRIBE. The
// process has to live, the connection to end with a reason, and the next
// connection to work.
func TestHostileBroker(t *testing.T) {
	packet := func(b ...byte) func(*peer, uint16) { return func(p *peer, _ uint16) { p.raw(b...) } }
	for _, c := range []struct {
		name string
		send func(p *peer, id uint16)
	}{
		{"SUBACK with more codes than asked (paho #758)", func(p *peer, id uint16) { p.suback(id, 1, 1, 1) }},
		{"SUBACK without codes", func(p *peer, id uint16) { p.suback(id) }},
		{"SUBACK with a code that does not exist", func(p *peer, id uint16) { p.suback(id, 3) }},
		{"SUBACK twice", func(p *peer, id uint16) { p.suback(id, 1); p.suback(id, 1) }},
		{"SUBACK of one byte", packet(0x90, 1, 0)},
		{"PUBACK for what was never published", func(p *peer, id uint16) { p.raw(0x40, 2, byte(id>>8), byte(id)) }},
		{"PUBCOMP with the id of the subscription", func(p *peer, id uint16) { p.raw(0x70, 2, byte(id>>8), byte(id)) }},
		{"UNSUBACK", func(p *peer, id uint16) { p.raw(0xb0, 2, byte(id>>8), byte(id)) }},
		{"second CONNACK", packet(0x20, 2, 0, 0)},
		{"packet type 0", packet(0x00, 0)},
		{"packet type 15", packet(0xf0, 0)},
		{"length of five bytes", packet(0x30, 0xff, 0xff, 0xff, 0xff, 0x01)},
		{"SUBACK of 256 MiB", packet(0x90, 0xff, 0xff, 0xff, 0x7f)},
		{"PUBLISH with QoS 3", packet(0x36, 5, 0, 1, 'a', 0, 1)},
		{"PUBLISH of no bytes", packet(0x32, 0)},
		{"PUBLISH whose topic is longer than it", packet(0x32, 4, 0, 9, 'a', 'b')},
		{"PUBLISH without its packet id", packet(0x32, 3, 0, 1, 'a')},
		{"PUBLISH with packet id 0", packet(0x32, 5, 0, 1, 'a', 0, 0)},
		{"PUBLISH without a topic", packet(0x32, 4, 0, 0, 0, 1)},
		{"PUBLISH to a wildcard", packet(0x32, 5, 0, 1, '#', 0, 1)},
		{"PUBLISH to bad UTF-8", packet(0x32, 5, 0, 1, 0xff, 0, 1)},
		{"PUBREL without a packet id", packet(0x62, 0)},
		{"PINGRESP with a body", packet(0xd0, 1, 0)},
		{"end inside a packet", func(p *peer, _ uint16) { p.raw(0x32, 10, 0); p.conn.Close() }},
		{"end inside a length", func(p *peer, _ uint16) { p.raw(0x32, 0x80); p.conn.Close() }},
		{"end inside a payload of 200 MiB", func(p *peer, _ uint16) {
			p.raw(append([]byte{0x32, 0x80, 0x80, 0x80, 0x64, 0, 1, 'a', 0, 1}, large(70_000)...)...)
			p.conn.Close()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &memory{}
				s, b, _ := start(t, testConfig, a)
				p := b.accept(true)
				subscribe := expect[*packets.SubscribePacket](p)
				began := time.Now()
				go c.send(p, subscribe.MessageID)
				p.closed()
				if took := time.Since(began); took > 0 {
					t.Errorf("it took %s to notice", took)
				}
				synctest.Wait()
				st := s.Status()
				if !st.ConnectedSince.IsZero() || !strings.Contains(st.LastError, errProtocol.Error()) && !strings.Contains(st.LastError, "EOF") {
					t.Errorf("status: %+v", st)
				}
				p = b.serve(true)
				p.publish(1, 1)
				synctest.Wait()
				if got := p.acks(); !slices.Equal(got, ids(1, 1)) {
					t.Errorf("the connection afterwards acknowledged %v", got)
				}
			})
		})
	}
}

func TestFirstPacketHasToBeConnack(t *testing.T) {
	for _, first := range [][]byte{
		{0x20, 2, 0, 6},           // a code paho takes for success
		{0x20, 2, 0, 5},           // not authorised
		{0x20, 3, 0, 0, 0},        // MQTT 5
		{0x20, 2, 2, 0},           // reserved flag
		{0x20, 0},                 // paho reads past its end
		{0xd0, 0},                 // PINGRESP
		{0x30, 4, 0, 1, 'a', 'b'}, // PUBLISH
	} {
		t.Run(fmt.Sprintf("% x", first), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, b, _ := start(t, testConfig, &memory{})
				p := <-b.dials
				expect[*packets.ConnectPacket](p)
				p.raw(first...)
				p.closed()
				synctest.Wait()
				if st := s.Status(); !strings.Contains(st.LastError, "connect: ") || strings.Contains(st.LastError, errSilent.Error()) || !st.ConnectedSince.IsZero() {
					t.Errorf("status: %+v", st)
				}
				b.serve(true)
			})
		})
	}
}
