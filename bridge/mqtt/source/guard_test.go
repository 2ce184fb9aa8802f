package source

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// stream is a connection that delivers these bytes and no more.
type stream struct {
	net.Conn
	*bytes.Reader
}

func (s stream) Read(p []byte) (int, error)       { return s.Reader.Read(p) }
func (s stream) SetWriteDeadline(time.Time) error { return nil }

// Whatever a broker sends, paho's decoder gets only packets it understands:
// it never fails before the guard does.
func FuzzGuard(f *testing.F) {
	connack := "\x20\x02\x00\x00"
	f.Add([]byte(connack+"\x90\x03\x00\x01\x01"), 1)
	f.Add([]byte(connack+"\x32\x06\x00\x01a\x00\x01x\xd0\x00"), 0)
	f.Add([]byte(connack+"\x62\x02\x00\x01\x30\x03\x00\x01a"), 0)
	f.Add([]byte(connack+"\x30\x80\x80\x80\x01\x00\x01a"), 0)
	f.Fuzz(func(t *testing.T, b []byte, awaited int) {
		var ended error
		g := newGuard(stream{Reader: bytes.NewReader(b)})
		g.end = func(err error) { ended = err }
		g.expectSuback(awaited & 0xff)
		for {
			packet, err := packets.ReadPacket(g)
			if err != nil {
				if ended == nil {
					t.Fatalf("the guard let %x through, paho says %v", g.body, err)
				}
				return
			}
			if s, ok := packet.(*packets.SubackPacket); ok && len(s.ReturnCodes) != awaited&0xff {
				t.Fatalf("SUBACK with %d codes, awaited were %d", len(s.ReturnCodes), awaited&0xff)
			}
		}
	})
}
